import numpy as np
import onnx_ir as ir
from support.graphs import Net, run

from tdedge_exporters import graph as g


def test_sizes_known_and_symbolic():
    net = Net("batch", 4, 9)
    net.add("Relu", "x")
    value = net.model().graph.inputs[0]
    assert g.dims(value) == ("batch", 4, 9)
    assert g.counting_shape(value) == (1, 4, 9)
    assert g.same_size("batch", "batch")
    assert not g.same_size(None, None)
    assert not g.same_size("batch", 2)


def test_only_the_batch_may_be_symbolic():
    value = ir.Value(name="v", shape=ir.Shape(["n", 4, "h"]))
    assert g.counting_shape(value) is None
    assert g.counting_shape(ir.Value(name="v")) is None


def test_an_overridable_initializer_is_no_constant():
    net = Net(1, 4)
    weight = net.weight(4)
    net.add("Mul", "x", weight)
    model = net.model()
    value = model.graph.initializers[weight]
    assert g.constant(value).shape == (4,)
    model.graph.inputs.append(value)
    assert g.constant(value) is None


def test_integer_constants_are_no_weights():
    net = Net(1, 4)
    shape = net.weight(array=np.array([4, 1]))
    net.add("Reshape", "x", shape)
    value = net.model().graph.initializers[shape]
    assert g.constant(value) is not None
    assert g.float_constant(value) is None


def test_links():
    net = Net(1, 4)
    first = net.add("Relu", "x")
    second = net.add("Tanh", first)
    third = net.add("Sigmoid", second)
    net.add("Add", third, third)
    model = net.model(net.nodes[-1].output[0], second)
    relu, tanh, sigmoid, _ = model.graph
    assert g.only_user(relu.outputs[0]) is tanh
    assert g.not_a_link(relu.outputs[0]) is None
    assert "graph output" in g.not_a_link(tanh.outputs[0])
    assert "2 consumers" in g.not_a_link(sigmoid.outputs[0])
    assert g.only_user(sigmoid.outputs[0]) is None


def test_names_are_fresh_and_can_be_released():
    net = Net(1, 4)
    net.add("Mul", "x", net.weight(4, name="w"), name="y")
    names = g.Names(net.model().graph)
    assert names.fresh("w") == "w_2"
    assert names.fresh("w") == "w_3"
    assert names.fresh("n_y") == "n_y_2"
    names.release("n_y")
    assert names.fresh("n_y") == "n_y"


def test_a_node_without_name_is_called_after_its_output():
    net = Net(1, 4)
    net.add("Relu", "x", name="y")
    net.nodes[0].name = ""
    assert g.node_name(net.model().graph[0]) == "y"


def test_replace_drops_private_and_keeps_shared_initializers():
    net = Net(1, 4)
    private, shared = net.weight(4), net.weight(4)
    first = net.add("Mul", "x", private)
    second = net.add("Add", first, shared)
    net.add("Mul", second, shared)
    model = net.model()
    mul = model.graph[0]
    new = g.new_node("Relu", [mul.inputs[0]], name="relu", output="o", like=mul.outputs[0], shape=(1, 4))
    g.replace([mul], [new], mul.outputs[0])
    assert set(model.graph.initializers) == {shared}
    assert new.outputs[0].name == first
    assert run(model, net.sample())[0].shape == (1, 4)
