from support.graphs import Net, assert_rewrites, ops, reasons

from tdedge_exporters.passes.convert_matmul import ConvertMatMulPass


class Run:
    def __call__(self, model):
        step = ConvertMatMulPass()
        self.modified = step(model).modified
        self.records = step.records


def test_a_matrix_from_the_left_is_a_pointwise_conv():
    net = Net(2, 4, 6)
    net.add("MatMul", net.weight(5, 4), "x")
    assert ops(assert_rewrites(net, Run())) == {"Conv": 1}


def test_two_axes_are_a_gemm():
    net = Net(2, 4)
    net.add("MatMul", "x", net.weight(4, 5), name="y")
    model = assert_rewrites(net, Run())
    assert ops(model) == {"Gemm": 1}
    assert [node.name for node in model.graph] == ["n_y"]


def test_linear_layers_in_channels_last_stay():
    net = Net(2, 3, 4)
    net.add("MatMul", "x", net.weight(4, 5))
    rewrite = Run()
    assert ops(assert_rewrites(net, rewrite)) == {"MatMul": 1}
    assert not rewrite.records


def test_two_activations_and_other_ranks_are_left_alone():
    net = Net(2, 4, 4)
    net.add("MatMul", net.weight(2, 5, 4), net.add("MatMul", "x", "x"))
    rewrite = Run()
    assert ops(assert_rewrites(net, rewrite)) == {"MatMul": 2}
    assert reasons(rewrite.records).splitlines() == [
        "MatMul of two activations",
        "a constant of shape (2, 5, 4) times an activation of 3 axes",
    ]
