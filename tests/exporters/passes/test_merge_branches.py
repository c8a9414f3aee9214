import numpy as np
import pytest
from support.graphs import Net, assert_rewrites, ops, reasons

from tdedge_exporters.chains import find_chains
from tdedge_exporters.passes.merge_branches import MergeBranchesPass


class Run:
    def __call__(self, model):
        step = MergeBranchesPass()
        self.modified = step(model).modified
        self.records = step.records


def kcp(net, x, rank, *, activation=None, bias=False, name=None, stride=1):
    """pw -> depthwise 3x3 -> pw, with an optional activation inside."""
    value = net.conv(x, rank, 4, 1, 1, bias=bias)
    if activation:
        value = net.add(activation, value)
    value = net.conv(value, rank, rank, 3, 3, groups=rank, pads=1, strides=[stride] * 2, bias=bias)
    if activation:
        value = net.add(activation, value)
    return net.conv(value, 5, rank, 1, 1, bias=True, name=name)


@pytest.mark.parametrize("activation", [None, "Relu", "Tanh"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("ranks", [(2, 3), (1, 4), (3, 3)])
def test_branches_become_one_wider_chain(activation, bias, ranks):
    net = Net(2, 4, 9, 8)
    branches = [kcp(net, "x", rank, activation=activation, bias=bias, stride=2) for rank in ranks]
    net.add("Relu", net.add("Add", *branches))
    model = assert_rewrites(net, Run())
    assert ops(model).get("Conv") == 3
    assert "Add" not in ops(model)
    (site,) = find_chains(model)
    assert site.chain.ranks == (sum(ranks),) * 2
    assert site.chain.is_linear == (activation is None)


def test_more_than_two_branches_in_a_sum_and_in_nested_additions():
    for nested in (False, True):
        net = Net(1, 4, 6, 6)
        branches = [kcp(net, "x", 2) for _ in range(3)]
        if nested:
            net.add("Add", net.add("Add", *branches[:2]), branches[2], name="y")
        else:
            net.add("Sum", *branches, name="y")
        model = assert_rewrites(net, Run(), "y")
        assert ops(model) == {"Conv": 3}


def test_branches_after_a_common_stem():
    net = Net(1, 3, 6, 6)
    stem = net.conv("x", 4, 3, 1, 1, name="stem")
    net.add("Add", kcp(net, stem, 2), kcp(net, stem, 3))
    model = assert_rewrites(net, Run())
    assert ops(model) == {"Conv": 4}
    assert model.graph[0].outputs[0].name == "stem"


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_parallel_single_convolutions_are_summed(axes):
    net = Net(2, 4, *(7,) * axes)
    kernel = (3,) * axes
    net.add(
        "Add",
        net.conv("x", 6, 4, *kernel, pads=1, groups=2, bias=True),
        net.conv("x", 6, 4, *kernel, pads=1, groups=2),
    )
    assert ops(assert_rewrites(net, Run())) == {"Conv": 1}


def test_parallel_linear_layers_are_summed():
    net = Net(2, 3, 4)
    net.add("Add", net.add("MatMul", "x", net.weight(4, 5)), net.add("MatMul", "x", net.weight(4, 5)))
    assert ops(assert_rewrites(net, Run())) == {"MatMul": 1}


def left_alone(net, *outputs):
    rewrite = Run()
    model = assert_rewrites(net, rewrite, *outputs)
    assert not rewrite.modified
    assert "Add" in ops(model)
    return reasons(rewrite.records)


def test_different_geometry_is_left_alone():
    net = Net(1, 4, 6, 6)
    net.add("Add", net.conv("x", 5, 4, 3, 3, pads=1), net.conv("x", 5, 4, 1, 1))
    assert "differ in kernel size" in left_alone(net)


def test_different_lengths_are_left_alone():
    net = Net(1, 4, 6, 6)
    net.add("Add", kcp(net, "x", 2), net.conv("x", 5, 4, 1, 1))
    assert "branches of [1, 3] factors" in left_alone(net)


def test_an_activation_before_the_sum_is_left_alone():
    net = Net(1, 4, 6, 6)
    net.add("Add", net.add("Relu", kcp(net, "x", 2)), kcp(net, "x", 2))
    assert "Relu stands between a branch and the sum" in left_alone(net)


def test_different_inputs_are_left_alone():
    net = Net(1, 4, 6, 6)
    net.add("Add", kcp(net, net.add("Tanh", "x"), 2), kcp(net, "x", 2))
    assert "the operands read different values: ['tanh0', 'x']" in left_alone(net)


def test_a_branch_that_is_a_graph_output_is_left_alone():
    net = Net(1, 4, 6, 6)
    net.add("Add", kcp(net, "x", 2, name="left"), kcp(net, "x", 2), name="y")
    assert "'left' is a graph output" in left_alone(net, "y", "left")


def test_shared_weights_are_left_alone():
    net = Net(1, 4, 6, 6)
    weight = net.weight(5, 4, 1, 1, name="w")
    net.add("Add", net.conv("x", 5, 4, 1, 1, weight=weight), net.conv("x", 5, 4, 1, 1, weight=weight))
    assert "the weight 'w'" in left_alone(net)


def test_a_branch_added_to_itself_is_left_alone():
    net = Net(1, 4, 6, 6)
    end = kcp(net, "x", 2)
    net.add("Add", end, end)
    assert "added to itself" in left_alone(net)


def test_a_residual_connection_is_no_branch():
    net = Net(1, 4, 6, 6)
    net.add("Add", net.conv("x", 4, 4, 3, 3, pads=1), "x")
    assert left_alone(net) == ""


def test_a_bias_is_no_branch():
    net = Net(1, 4, 6)
    net.add("Add", net.conv("x", 4, 4, 3), net.weight(4, 1))
    assert left_alone(net) == ""


def test_the_sum_of_branches_is_exact_to_rounding():
    net = Net(1, 4, 6, 6, dtype=np.float64)
    net.add("Add", kcp(net, "x", 2, activation="Relu"), kcp(net, "x", 3, activation="Relu"))
    assert_rewrites(net, Run(), tolerance=1e-12)
