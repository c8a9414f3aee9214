"""Activations written as arithmetic become one operator; anything a little different stays as it is."""

import math

import numpy as np
import pytest
from support.graphs import Net
from support.lowering_tflite import assert_lowers, lowered, refusal

from tdedge_exporters.lowering import Options
from tdedge_exporters.tflite.target import lower

ROOT = math.sqrt(2)


def number(net: Net, value: float) -> str:
    return net.weight(array=np.array(value))


def one_plus_erf(net: Net, x: str, form: str, one: float = 1.0) -> str:
    if form == "div":
        inner = net.add("Div", x, number(net, ROOT))
    else:
        inner = net.add("Mul", number(net, 1 / ROOT), x)
    return net.add("Add", *[net.add("Erf", inner), number(net, one)][:: 1 if form == "div" else -1])


def product(net: Net, x: str, factor: str, constant: float, order: str) -> str:
    """``x * factor * constant`` in one of the orders exporters write it."""
    k = number(net, constant)
    if order == "x*k first":
        return net.add("Mul", net.add("Mul", x, k), factor)
    if order == "factor*k first":
        return net.add("Mul", x, net.add("Mul", k, factor))
    if order == "x/(1/k)":
        return net.add("Div", net.add("Mul", factor, x), number(net, 1 / constant))
    return net.add("Mul", net.add("Mul", factor, x), k)


ORDERS = pytest.mark.parametrize("order", ["x*k first", "factor*k first", "k last", "x/(1/k)"])


@ORDERS
@pytest.mark.parametrize("form", ["div", "mul"])
def test_gelu(order, form):
    net = Net(2, 3, 4)
    x = net.add("Tanh", "x")
    product(net, x, one_plus_erf(net, x, form), 0.5, order)
    assert assert_lowers(net).ops == ["TANH", "GELU"]


def test_gelu_whose_half_went_elsewhere():
    net = Net(2, 3, 4)
    net.add("Mul", "x", one_plus_erf(net, "x", "div"))
    assert set(assert_lowers(net).ops) <= {"GELU", "MUL", "RESHAPE"}


def cube(net: Net, x: str, form: str) -> str:
    """``sqrt(2/pi) * (x + 0.044715 x^3)`` in one of its forms."""
    scale, coefficient = number(net, math.sqrt(2 / math.pi)), number(net, 0.044715)
    if form == "pow":
        cubed = net.add("Pow", x, number(net, 3.0))
        return net.add("Mul", scale, net.add("Add", x, net.add("Mul", coefficient, cubed)))
    if form == "products":
        cubed = net.add("Mul", net.add("Mul", x, x), x)
        return net.add("Mul", net.add("Add", net.add("Mul", cubed, coefficient), x), scale)
    inner = net.add("Add", net.add("Mul", coefficient, net.add("Mul", x, x)), number(net, 1.0))
    return net.add("Mul", net.add("Mul", x, scale), inner)


@ORDERS
@pytest.mark.parametrize("form", ["pow", "products", "factored"])
def test_gelu_by_tanh(order, form):
    net = Net(2, 3, 4)
    factor = net.add("Add", net.add("Tanh", cube(net, "x", form)), number(net, 1.0))
    product(net, "x", factor, 0.5, order)
    assert set(assert_lowers(net).ops) <= {"GELU", "RESHAPE"}


@ORDERS
def test_hard_swish(order):
    net = Net(2, 3, 4)
    clipped = net.add("Clip", net.add("Add", "x", number(net, 3.0)), number(net, 0.0), number(net, 6.0))
    product(net, "x", clipped, 1 / 6, order)
    assert set(assert_lowers(net).ops) <= {"HARD_SWISH", "RESHAPE"}


def test_hard_swish_by_hard_sigmoid():
    net = Net(2, 3, 4, 5)
    x = net.conv("x", 4, 3, 3, 3)
    net.conv(net.add("Mul", net.add("HardSigmoid", x, alpha=1 / 6, beta=0.5), x), 2, 4, 1, 1)
    made = assert_lowers(net)
    assert "HARD_SWISH" in made.ops
    assert "MUL" not in made.ops


def test_mish():
    net = Net(2, 3, 4)
    net.add("Mul", "x", net.add("Tanh", net.add("Softplus", "x")))
    assert "TANH" not in assert_lowers(net).ops


def test_what_is_used_elsewhere_stays():
    net = Net(2, 3, 4)
    gate = net.add("HardSigmoid", "x", alpha=1 / 6, beta=0.5)
    net.add("Add", net.add("Mul", "x", gate), gate)
    assert "HARD_SWISH" not in assert_lowers(net).ops


@pytest.mark.parametrize(("alpha", "beta"), [(0.1667, 0.5), (1 / 6, 0.4), (0.2, 0.5)])
def test_other_slopes_stay(alpha, beta):
    net = Net(2, 3, 4)
    net.add("Mul", "x", net.add("HardSigmoid", "x", alpha=alpha, beta=beta))
    assert "HARD_SWISH" not in assert_lowers(net).ops


def test_another_argument_stays():
    net = Net(2, 3, 4)
    other = net.add("Sin", "x")
    net.add("Mul", other, net.add("HardSigmoid", "x", alpha=1 / 6, beta=0.5))
    assert "HARD_SWISH" not in assert_lowers(net).ops


def test_an_error_function_alone_is_refused():
    net = Net(2, 3, 4)
    net.add("Mul", "x", one_plus_erf(net, "x", "div", one=1.1))
    assert "(Erf): there is no lowering for this operator" in refusal(net)


def test_the_callers_model_is_not_changed(tmp_path):
    net = Net(2, 3, 4)
    net.add("Mul", "x", net.add("HardSigmoid", "x", alpha=1 / 6, beta=0.5))
    model = net.model()
    lower(model, tmp_path, "float32", Options())
    assert [node.op_type for node in model.graph] == ["HardSigmoid", "Mul"]
    assert lowered(model).partitions == 1
