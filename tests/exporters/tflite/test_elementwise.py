"""Arithmetic with broadcasting, powers, comparisons, against ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import Net, run
from support.lowering_tflite import assert_lowers, lowered, refusal, with_opset

SETTINGS = settings(max_examples=80, deadline=None, derandomize=True)


@st.composite
def operands(draw):
    """A network of one operator between two values of shapes that broadcast."""
    shape = draw(st.sampled_from([(2, 3, 4, 5), (1, 4, 3, 3), (2, 3, 4), (3, 4), (1, 2, 3, 2, 4)]))
    cut = draw(st.integers(0, len(shape)))
    other = [1 if draw(st.booleans()) else size for size in shape[cut:]]
    net = Net(*shape, seed=draw(st.integers(0, 99)))
    first = "x"
    if len(shape) == 4 and draw(st.booleans()):
        first = net.add("Tanh", net.conv("x", shape[1], shape[1], 1, 1))
    operator = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"]))
    array = np.random.default_rng(0).uniform(0.5, 2, other)
    second = net.weight(array=array)
    if draw(st.booleans()):
        axes = [axis for axis in range(len(shape)) if axis < cut or other[axis - cut] == 1]
        made = net.add("ReduceMean", first, net.weight(array=np.array(axes, np.int64))) if axes else first
        made = net.add("Reshape", made, net.weight(array=np.array(other, np.int64)))
        second = net.add("Add", net.add("Abs", made), net.weight(array=0.5))
    values = [first, second] if draw(st.booleans()) else [second, first]
    if values[0] is second and operator == "Div":
        values[1] = net.add("Add", net.add("Abs", first), net.weight(array=0.5))
    net.add(operator, *values)
    return net


@SETTINGS
@given(operands(), st.sampled_from(["nchw", "nhwc"]))
def test_broadcasting(net, layout):
    assert_lowers(net, layout)


@pytest.mark.parametrize("operator", ["Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_operands(operator, count):
    net = Net(2, 3, 4, 5)
    others = ["x", net.weight(3, 1, 1), net.weight(1), net.add("Tanh", "x")]
    net.add(operator, *others[:count])
    net.add("Sin", net.nodes[-1].output[0])
    assert_lowers(net)


@pytest.mark.parametrize(
    ("divisor", "operator"), [([2, 4, -0.5], "MUL"), ([2, 3, 4], "DIV"), ([1, 0, 1], "DIV")]
)
def test_a_division_by_powers_of_two_is_a_product(divisor, operator):
    net = Net(5, 3)
    net.add("Div", "x", net.weight(array=np.array(divisor, np.float32)))
    assert operator in lowered(net.model()).ops


@pytest.mark.parametrize("exponent", [2, 3, 0.5, -0.5, -1, 1, 4, 1.5, 0.75, -2, 0.25, 7, 16, -1.25])
@pytest.mark.parametrize("place", ["input", "conv"])
def test_powers_are_products_and_roots(exponent, place):
    net = Net(2, 3, 4, 5)
    name = net.conv("x", 3, 3, 1, 1) if place == "conv" else "x"
    positive = net.add("Add", net.add("Abs", name), net.weight(array=0.3))
    net.add("Pow", positive, net.weight(array=exponent))
    assert "POW" not in assert_lowers(net).ops


@pytest.mark.parametrize("exponent", [2, 3])
def test_integer_powers_of_negative_numbers(exponent):
    net = Net(2, 3, 4, 5)
    net.add("Relu", net.add("Pow", "x", net.weight(array=np.array(exponent, np.int64))))
    assert_lowers(net)


def test_other_powers_use_the_kernel():
    net = Net(2, 3, 4, 5)
    positive = net.add("Add", net.add("Abs", "x"), net.weight(array=0.3))
    net.add("Pow", positive, net.weight(array=np.array([0.3, 1.7, 2.2, 0.1, 1.0])))
    assert "POW" in assert_lowers(net, partitions=None).ops


@pytest.mark.parametrize("operator", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
@pytest.mark.parametrize("place", ["input", "conv"])
def test_comparison_and_choice(operator, place):
    net = Net(2, 3, 4, 5)
    name = net.add("Round", net.conv("x", 3, 3, 1, 1) if place == "conv" else "x")
    mask = net.add(operator, name, net.weight(array=np.array([-1.0, 0, 1]).reshape(3, 1, 1)))
    other = net.add("Greater", name, net.weight(array=0.5))
    mask = net.add("Xor", net.add("Or", mask, other), net.add("Not", net.add("And", other, mask)))
    net.add("Where", mask, name, net.weight(5))
    assert_lowers(net, partitions=None)


def test_integers_are_added_as_integers():
    net = Net(2, 3, 4)
    index = net.add("ArgMax", "x", axis=1, keepdims=0)
    net.add(
        "Add", net.add("Mul", index, net.weight(array=np.array(3, np.int64))), net.weight(array=np.arange(4))
    )
    model = with_opset(net, 18)
    x = net.sample()
    np.testing.assert_array_equal(next(iter(lowered(model).run({"x": x}).values())), run(model, x)[0])


def test_what_is_refused():
    net = Net(2, 3, 4)
    net.add("Div", net.add("ArgMax", "x", axis=1), net.weight(array=np.array(2, np.int64)))
    assert "(Div): an operand has the element type int64; it must be float32 or int32" in refusal(net)
