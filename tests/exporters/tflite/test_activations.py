"""Activations: every operator in both orders, in one part, against ONNX Runtime."""

import numpy as np
import pytest
from support.graphs import Net, run
from support.lowering_tflite import assert_lowers, lowered, refusal, with_opset

UNARY = [
    ("Abs", {}),
    ("Ceil", {}),
    ("Celu", {}),
    ("Celu", {"alpha": 2.5}),
    ("Cos", {}),
    ("Elu", {}),
    ("Elu", {"alpha": 0.3}),
    ("Exp", {}),
    ("Floor", {}),
    ("Gelu", {}),
    ("Gelu", {"approximate": "tanh"}),
    ("HardSigmoid", {}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    ("HardSigmoid", {"alpha": -0.7, "beta": 0.1}),
    ("HardSwish", {}),
    ("LeakyRelu", {}),
    ("LeakyRelu", {"alpha": 0.3}),
    ("LeakyRelu", {"alpha": 1.5}),
    ("LeakyRelu", {"alpha": -0.5}),
    ("Mish", {}),
    ("Neg", {}),
    ("Relu", {}),
    ("Round", {}),
    ("Selu", {}),
    ("Selu", {"alpha": 2.0, "gamma": 3.0}),
    ("Sigmoid", {}),
    ("Sign", {}),
    ("Sin", {}),
    ("Softplus", {}),
    ("Softsign", {}),
    ("Tanh", {}),
    ("ThresholdedRelu", {}),
    ("ThresholdedRelu", {"alpha": 0.0}),
    ("ThresholdedRelu", {"alpha": -0.4}),
]


def after_conv(net: Net) -> str:
    """An activation of a convolution of 8 channels, stored channels-last."""
    return net.add("HardSwish", net.conv("x", 8, net.shape[1], 3, 3, pads=1))


@pytest.mark.parametrize("place", ["input", "conv"])
@pytest.mark.parametrize(("operator", "attributes"), UNARY)
def test_functions_of_one_tensor(operator, attributes, place):
    net = Net(2, 3, 5, 6)
    name = "x" if place == "input" else after_conv(net)
    net.add(operator, name, **attributes)
    made = assert_lowers(net, opset=22)
    assert made.ops.count("TRANSPOSE") == (0 if place == "input" else 2)


@pytest.mark.parametrize("operator", ["Log", "Reciprocal", "Sqrt"])
def test_functions_of_positive_numbers(operator):
    net = Net(2, 3, 5, 6)
    net.add(operator, net.add("Add", net.add("Abs", "x"), net.weight(array=0.1)))
    assert_lowers(net)


@pytest.mark.parametrize(
    "operator", ["Softplus", "Mish", "Selu", "Elu", "Softsign", "Sign", "LogSoftmax", "Gelu"]
)
def test_large_and_tiny_arguments(operator):
    net = Net(1, 8)
    net.add(operator, "x")
    x = np.array([[-1e4, -90, -20, -1e-30, 0, 1e-30, 90, 1e4]], np.float32)
    model = with_opset(net, 22)
    (expected,) = run(model, x)
    (actual,) = lowered(model).run({"x": x}).values()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "operators"),
    [
        (0.0, 6.0, ["RELU6"]),
        (-1.0, 1.0, ["RELU_N1_TO_1"]),
        (0.0, None, ["RELU"]),
        (0.0, 1.0, ["RELU", "MINIMUM"]),
        (-0.5, 0.7, ["MAXIMUM", "MINIMUM"]),
        (None, 0.3, ["MINIMUM"]),
        (0.3, None, ["MAXIMUM"]),
        (-np.inf, 0.3, ["MINIMUM"]),
        (0.6, 0.2, ["MAXIMUM", "MINIMUM"]),
        (-3.0, -0.1, ["MAXIMUM", "MINIMUM"]),
    ],
)
def test_clip(low, high, operators):
    net = Net(2, 3, 5, 6)
    bounds = ["" if bound is None else net.weight(array=bound) for bound in (low, high)]
    net.add("Clip", "x", *bounds)
    assert assert_lowers(net).ops == operators


def test_clip_with_attributes_of_an_old_opset():
    net = Net(2, 3, 5, 6)
    net.add("Clip", "x", min=-0.2, max=0.4)
    assert assert_lowers(net, opset=10).ops == ["MAXIMUM", "MINIMUM"]


def test_clip_with_a_computed_bound():
    net = Net(2, 3, 5, 6)
    least = net.add("ReduceMean", "x", keepdims=0)
    net.add("Clip", "x", least)
    assert_lowers(net)


def test_clip_after_a_convolution_is_part_of_it():
    net = Net(1, 3, 5, 6)
    net.add("Clip", net.conv("x", 8, 3, 3, 3), net.weight(array=0.0), net.weight(array=6.0))
    assert "RELU6" not in assert_lowers(net).ops


@pytest.mark.parametrize("place", ["input", "conv"])
@pytest.mark.parametrize("slope", [(8, 1, 1), (1,), (8, 5, 6), (1, 1, 6), (5, 1), (2, 8, 5, 6), (1, 8, 1, 1)])
def test_prelu(slope, place):
    net = Net(2, 8, 5, 6)
    net.add("PRelu", "x" if place == "input" else after_conv(net), net.weight(*slope))
    made = assert_lowers(net)
    if place == "conv":
        assert ("PRELU" in made.ops) == (slope in [(8, 1, 1), (1, 8, 1, 1), (8, 5, 6)])
    assert ("LEAKY_RELU" in made.ops) == (slope == (1,))


def test_prelu_with_a_computed_slope():
    net = Net(2, 8, 5, 6)
    net.add("PRelu", "x", net.add("GlobalAveragePool", "x"))
    assert_lowers(net)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("place", ["input", "conv"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("opset", [11, 18])
def test_softmax(operator, place, axis, opset):
    net = Net(2, 8, 5, 6)
    name = net.add("LeakyRelu", net.conv("x", 8, 8, 3, 3, pads=1)) if place == "conv" else "x"
    net.add(operator, name, axis=axis)
    made = assert_lowers(net, opset=opset)
    if operator == "Softmax" and place == "conv" and axis == 1 and opset == 18:
        assert made.ops.count("TRANSPOSE") == 2


def test_softmax_over_a_row():
    net = Net(2, 10)
    net.add("Softmax", "x")
    assert assert_lowers(net).ops == ["SOFTMAX"]


def test_swish_is_a_product():
    net = Net(2, 3, 5, 6)
    net.add("Mul", "x", net.add("Sigmoid", "x"))
    assert assert_lowers(net).ops == ["LOGISTIC", "MUL"]


def test_what_is_refused():
    net = Net(2, 3)
    net.add("Celu", "x", alpha=-1.0)
    assert "(Celu): alpha=-1; it must be positive" in refusal(net, 18)
    net = Net(2, 3)
    net.add("Erf", "x")
    assert "(Erf): there is no lowering for this operator" in refusal(net)
