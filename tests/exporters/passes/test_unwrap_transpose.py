import numpy as np
import pytest
from support.graphs import Net, assert_rewrites, ops, reasons

from tdedge_exporters.passes.unwrap_transpose import UnwrapTransposePass


class Run:
    def __call__(self, model):
        step = UnwrapTransposePass()
        self.modified = step(model).modified
        self.records = step.records


def wrap(net, rank, body):
    last = net.add("Transpose", "x", perm=[0, *range(2, rank), 1])
    return net.add("Transpose", body(last), perm=[0, rank - 1, *range(1, rank - 1)])


@pytest.mark.parametrize("spatial", [(6,), (6, 7), (3, 4, 5)])
def test_a_linear_layer_in_channels_last(spatial):
    net = Net(2, 4, *spatial)
    linear = lambda v: net.add("Add", net.weight(5), net.add("MatMul", v, net.weight(4, 5)))  # noqa: E731
    net.add("Tanh", wrap(net, len(spatial) + 2, linear))
    model = assert_rewrites(net, Run())
    assert ops(model) == {"Conv": 1, "Add": 1, "Tanh": 1}


def test_activations_maps_and_flattened_positions_move_along():
    net = Net(2, 4, 6, 7)

    def body(value):
        value = net.add("Reshape", value, net.weight(array=np.array([84, 4])))
        value = net.add("Relu", net.add("Gemm", value, net.weight(3, 4), net.weight(3), transB=1))
        value = net.add("Mul", value, net.weight(3))
        value = net.add("Reshape", value, net.weight(array=np.array([2, 6, 7, 3])))
        return net.add("MatMul", value, net.weight(3, 5))

    wrap(net, 4, body)
    assert ops(assert_rewrites(net, Run())) == {"Conv": 2, "Relu": 1, "Mul": 1}


def test_symbolic_batch():
    net = Net("n", 4, 6, 7)
    wrap(net, 4, lambda v: net.add("MatMul", v, net.weight(4, 5)))
    assert ops(assert_rewrites(net, Run())) == {"Conv": 1}


def left_alone(net, *outputs):
    rewrite = Run()
    assert_rewrites(net, rewrite, *outputs)
    assert not rewrite.modified
    return reasons(rewrite.records)


def test_a_batched_matrix_is_left_alone():
    net = Net(2, 4, 6, 7)
    wrap(net, 4, lambda v: net.add("MatMul", v, net.weight(2, 6, 4, 5)))
    assert "no constant matrix" in left_alone(net)


def test_a_constant_per_position_is_left_alone():
    net = Net(2, 4, 6, 7)
    wrap(net, 4, lambda v: net.add("Add", net.add("MatMul", v, net.weight(4, 5)), net.weight(7, 1)))
    assert "differs between positions" in left_alone(net)


def test_an_inner_value_with_two_consumers_is_left_alone():
    net = Net(2, 4, 6, 7)
    end = wrap(net, 4, lambda v: net.add("MatMul", v, net.weight(4, 5), name="inner"))
    assert "'inner' has 2 consumers" in left_alone(net, end, net.add("Relu", "inner"))


def test_other_permutations_are_none_of_ours():
    net = Net(2, 4, 6, 6)
    last = net.add("Transpose", "x", perm=[0, 3, 2, 1])
    net.add("Transpose", net.add("MatMul", last, net.weight(4, 5)), perm=[0, 3, 1, 2])
    assert left_alone(net) == ""
