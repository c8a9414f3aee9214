"""Normalisations in both orders, in one part, against ONNX Runtime."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from support.graphs import Net
from support.lowering_tflite import assert_lowers, lowered

from tdedge.errors import UnsupportedError
from tdedge_exporters.reference import evaluate
from tdedge_exporters.tflite.assemble import assemble

PLACES = pytest.mark.parametrize("place", ["input", "conv"])


def start(place: str, *shape: int) -> tuple[Net, str]:
    """A network and the value to normalise: its input, or an activated convolution of as many channels."""
    net = Net(*shape)
    if place == "input":
        return net, "x"
    channels = shape[1]
    return net, net.add("LeakyRelu", net.conv("x", channels, channels, *[1] * (len(shape) - 2)))


def against_reference(model: ir.Model, x: np.ndarray) -> None:
    """The lowered network gives what a float64 evaluation gives, in one part."""
    (expected,) = evaluate(model, {"x": x}).values()
    made = lowered(model)
    (actual,) = made.run({"x": x}).values()
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()
    assert made.plan == ["DELEGATE"]


def statistics(net: Net, channels: int) -> list[str]:
    variance = np.random.default_rng(1).uniform(0.5, 2, channels)
    return [*(net.weight(channels) for _ in range(3)), net.weight(array=variance)]


@PLACES
@pytest.mark.parametrize("shape", [(2, 6, 7), (2, 6, 4, 5), (1, 6, 2, 4, 5)])
def test_batch(place, shape):
    net, name = start(place, *shape)
    net.add("BatchNormalization", name, *statistics(net, 6), epsilon=1e-3)
    assert_lowers(net)


def test_batch_of_rows():
    net = Net(4, 6)
    net.add("BatchNormalization", "x", *statistics(net, 6))
    assert {"MUL", "ADD"} <= set(assert_lowers(net).ops)


@PLACES
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.0, 0.3])
def test_local_response(place, size, beta):
    """Windows of odd and even size, cut at both borders, with constants that make every term count.

    ONNX Runtime has no even windows: the reference is our float64 evaluation.
    """
    net, name = start(place, 2, 6, 4, 5)
    net.add("LRN", name, size=size, alpha=2.0, beta=beta, bias=0.7)
    against_reference(net.model(), net.sample())


def test_local_response_beside_convolutions_moves_nothing():
    net = Net(1, 3, 8, 8)
    name = net.add("LRN", net.add("Relu", net.conv("x", 16, 3, 3, 3)), size=5)
    net.conv(name, 4, 16, 3, 3)
    assert assert_lowers(net).ops.count("TRANSPOSE") == 2


@PLACES
@pytest.mark.parametrize("shape", [(2, 6, 7), (2, 6, 4, 5), (1, 6, 2, 4, 5)])
def test_instance(place, shape):
    net, name = start(place, *shape)
    net.add("InstanceNormalization", name, net.weight(6), net.weight(6), epsilon=1e-2)
    assert_lowers(net)


@PLACES
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize(("opset", "size"), [(18, None), (21, 6)])
def test_group(place, groups, opset, size):
    """Scale and bias per group as in opset 18, per channel since opset 21; ONNX infers no shape for it."""
    net, name = start(place, 2, 6, 4, 5)
    vectors = [net.weight(size or groups) for _ in range(2)]
    net.add("GroupNormalization", name, *vectors, num_groups=groups, name="y")
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, net.shape)
    graph = helper.make_graph(net.nodes, "net", net.inputs, [output], net.initializers)
    opsets = [helper.make_opsetid("", opset)]
    proto = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    against_reference(ir.from_proto(proto), net.sample())


def test_group_as_torch_writes_it():
    net, name = start("conv", 2, 6, 4, 5)
    flat = net.add("Reshape", name, net.weight(array=np.array([2, 3, -1], np.int64)))
    flat = net.add("InstanceNormalization", flat, net.weight(array=np.ones(3)), net.weight(array=np.zeros(3)))
    back = net.add("Reshape", flat, net.weight(array=np.array([2, 6, 4, 5], np.int64)))
    net.add("Add", net.add("Mul", back, net.weight(6, 1, 1)), net.weight(6, 1, 1))
    assert_lowers(net)


@PLACES
@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("bias", [False, True])
def test_layer(place, axis, bias):
    net, name = start(place, 2, 6, 4, 5)
    shape = (2, 6, 4, 5)[axis:]
    net.add("LayerNormalization", name, *(net.weight(*shape) for _ in range(1 + bias)), axis=axis)
    assert_lowers(net)


def test_layer_over_the_channels_of_an_image_moves_nothing():
    """As ConvNeXt has it: channels-last for the norm and the matrix products, between convolutions."""
    net = Net(1, 3, 8, 8)
    name = net.add("Transpose", net.conv("x", 8, 3, 2, 2, strides=[2, 2]), perm=[0, 2, 3, 1])
    name = net.add("LayerNormalization", name, net.weight(8), net.weight(8), axis=-1, epsilon=1e-6)
    name = net.add("Gelu", net.add("Add", net.add("MatMul", name, net.weight(8, 32)), net.weight(32)))
    name = net.add("Transpose", net.add("MatMul", name, net.weight(32, 8)), perm=[0, 3, 1, 2])
    net.conv(name, 4, 8, 3, 3)
    assert assert_lowers(net, opset=22).ops.count("TRANSPOSE") == 2


@PLACES
@pytest.mark.parametrize("axes", [[0, 2, 3], [1], [2, 3], [0, 1, 2, 3]])
def test_mean_and_variance(place, axes):
    net, name = start(place, 2, 6, 4, 5)
    net.add("MeanVarianceNormalization", name, axes=axes)
    assert_lowers(net)


@PLACES
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [1, 3, -1])
def test_length(place, p, axis):
    net, name = start(place, 2, 6, 4, 5)
    net.add("LpNormalization", net.add("Relu", name), p=p, axis=axis)
    assert_lowers(net)


def test_length_of_zeros_is_zero():
    net = Net(2, 6)
    zeros = net.add("Mul", "x", net.weight(array=np.array([[0.0], [1.0]])))
    net.add("LpNormalization", zeros)
    assert_lowers(net)


def test_what_is_refused():
    net = Net(2, 6, 4, 5)
    net.add("LpNormalization", "x", p=1, axis=1)
    model = net.model()
    (node,) = model.graph
    node.attributes["p"] = ir.AttrInt64("p", 3)
    with pytest.raises(UnsupportedError, match=r"\(LpNormalization\): p=3; 1 and 2 are supported"):
        lowered(model)


def test_statistics_of_a_batch_are_refused():
    net = Net(2, 6, 4, 5)
    net.add("BatchNormalization", "x", *statistics(net, 6))
    model = net.model()
    (node,) = model.graph
    node.attributes["training_mode"] = ir.AttrInt64("training_mode", 1)
    with pytest.raises(UnsupportedError, match=r"training_mode=1; export the network in evaluation mode"):
        assemble(model.graph, inputs_last=False)
