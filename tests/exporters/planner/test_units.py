"""A network as units, and which of them form runs."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from support.graphs import Net

from tdedge.errors import UnsupportedError
from tdedge_exporters.planner.units import constant_axis, network


def kinds(net, *outputs):
    return [unit.kind for unit in network(net.model(*outputs)).units]


def test_kinds_of_a_chain():
    net = Net(1, 3, 8, 8)
    a = net.add("Relu", net.conv("x", 4, 3, 3, 3))  # one unit with its activation
    b = net.add("MaxPool", net.add("HardSwish", a), kernel_shape=[2, 2])
    c = net.add("Flatten", net.add("GlobalAveragePool", b))
    d = net.add("Gemm", c, net.weight(4, 6), net.weight(6))
    net.add("Sigmoid", net.add("Add", net.add("MatMul", d, net.weight(6, 2)), net.weight(2)))
    found = network(net.model())
    assert [unit.kind for unit in found.units] == [
        *("factor", "map", "pool", "opaque", "opaque", "factor", "factor")
    ]
    assert [len(unit.nodes) for unit in found.units] == [2, 1, 1, 1, 1, 1, 3]
    assert found.units[0].factor.activation == "relu"
    lengths = [len(found.runs_from(unit, ("factor", "map", "pool"))) for unit in found.units]
    assert lengths == [3, 2, 1, 1, 3, 2, 1]
    assert found.is_link(found.units[5].outputs[0])
    assert not found.is_link(found.units[0].outputs[0])


def test_residual_sum_and_shared_value_end_runs():
    net = Net(1, 4, 8, 8)
    a = net.conv("x", 4, 4, 3, 3, pads=1)
    b = net.conv(a, 4, 4, 3, 3, pads=1)
    c = net.add("Add", a, b)
    net.add("Mul", c, c)
    found = network(net.model())
    assert [unit.kind for unit in found.units] == ["factor", "factor", "map", "map"]
    assert all(found.following(unit) is None for unit in found.units)
    assert [len(unit.inputs) for unit in found.units] == [1, 1, 2, 2]


def test_graph_output_inside_a_chain_ends_the_run():
    net = Net(1, 4, 8, 8)
    a = net.conv("x", 4, 4, 3, 3)
    b = net.conv(a, 4, 4, 3, 3)
    found = network(net.model(a, b))
    assert found.following(found.units[0]) is None
    assert not found.is_link(found.units[0].outputs[0])
    again = network(net.model(b))
    assert again.following(again.units[0]) is again.units[1]
    assert again.is_link(again.units[0].outputs[0])


def test_links_join_factors_of_as_many_axes():
    net = Net(1, 4, 8)
    a = net.conv("x", 8, 4, 1)
    net.add("MatMul", a, net.weight(8, 3))
    found = network(net.model())
    assert [unit.kind for unit in found.units] == ["factor", "factor"]
    assert not found.is_link(found.units[0].outputs[0])


def test_nodes_of_several_outputs_are_opaque():
    net = Net(1, 4, 8, 8)
    net.add("Split", "x", name="a", axis=1, num_outputs=2)
    net.nodes[-1].output.append("b")
    net.add("Add", "a", "b")
    found = network(net.model())
    assert [unit.kind for unit in found.units] == ["opaque", "map"]
    assert len(found.units[0].outputs) == 2
    assert found.following(found.units[0]) is None
    net = Net(1, 4, 8, 8)
    net.add("MaxPool", "x", name="a", kernel_shape=[2, 2])
    net.nodes[-1].output.append("places")
    assert kinds(net, "a") == ["opaque"]


def test_whole_numbers_are_opaque():
    net = Net(1, 4, 8, 8)
    a = net.add("Cast", "x", to=onnx.TensorProto.INT64)
    b = net.add("Add", a, net.weight(array=np.ones(1, np.int64)))
    net.add("Cast", b, to=onnx.TensorProto.FLOAT)
    assert kinds(net) == ["opaque"] * 3


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        *(((), "map"), ((1,), "map"), ((4, 1, 1), "map"), ((1, 4, 1, 1), "map"), ((1, 1, 1, 1), "map")),
        *(((8,), "opaque"), ((8, 1), "opaque"), ((1, 4, 8, 8), "opaque")),
    ],
)
def test_constants_of_maps(size, kind):
    net = Net(1, 4, 8, 8)
    net.add("Add", "x", net.weight(array=np.ones(size)))
    assert kinds(net) == [kind]


def test_axis_of_constants():
    def axis(size, shape):
        value = ir.Value(name="c", const_value=ir.tensor(np.ones(size, np.float32)))
        return constant_axis(value, shape)

    assert axis((), (1, 4, 8)) == 0
    assert axis((4, 1), (1, 4, 8)) == 1
    assert axis((8,), (1, 4, 8)) is None
    assert axis((4,), (2, 4)) == 1
    assert axis((1, 1, 1, 1), (1, 4, 8)) is None  # it would add an axis


def test_broadcast_operands_are_opaque():
    net = Net(1, 4, 8, 8)
    net.add("Mul", "x", net.add("GlobalAveragePool", "x"))
    assert kinds(net) == ["opaque", "opaque"]


def test_computed_weights_are_refused_with_a_reason():
    net = Net(1, 4, 8, 8)
    net.add("Conv", "x", net.add("Abs", net.weight(4, 4, 1, 1)), kernel_shape=[1, 1])
    found = network(net.model())
    assert found.units[-1].kind == "opaque"
    assert [reason for _, reason in found.refusals] == ["the Conv's weight 'abs0' is not a constant"]


def test_graphs_inside_nodes_are_refused():
    net = Net(1, 4, 8, 8)
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["inner"])],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, (1, 4, 8, 8))],
    )
    other = onnx.GraphProto()
    other.CopyFrom(branch)
    net.add("If", net.weight(array=np.array(True)), then_branch=branch, else_branch=other)
    with pytest.raises(UnsupportedError, match=r"n_if0.*\(If\) holds a graph of its own"):
        network(net.model())


@pytest.mark.parametrize("cut", ["Relu", "Clip"])
def test_on_integers_a_sum_and_the_relu_behind_it_are_one(cut):
    net = Net(1, 4, 8, 8)
    a = net.conv("x", 4, 4, 3, 3, pads=1)
    b = net.conv(a, 4, 4, 3, 3, pads=1)
    bounds = (net.weight(array=np.float32(0)), net.weight(array=np.float32(6))) if cut == "Clip" else ()
    net.add("Softplus", net.add(cut, net.add("Add", a, b), *bounds))
    model = net.model()
    assert [len(unit.nodes) for unit in network(model).units] == [1, 1, 1, 1, 1]
    whole = network(model, integers=True)
    assert [len(unit.nodes) for unit in whole.units] == [1, 1, 2, 1]
    assert whole.units[2].outputs == whole.units[3].inputs


def test_on_integers_a_sum_that_others_read_stays_alone():
    net = Net(1, 4, 8, 8)
    a = net.conv("x", 4, 4, 3, 3, pads=1)
    added = net.add("Add", a, "x")
    cut = net.add("Relu", added)
    found = network(net.model(added, cut), integers=True)
    assert [len(unit.nodes) for unit in found.units] == [1, 1, 1]
