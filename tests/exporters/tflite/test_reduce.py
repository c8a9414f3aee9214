"""Reductions over any axes, in both orders, against ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import Net, run
from support.lowering_tflite import assert_lowers, lowered, refusal, with_opset

from tdedge.errors import UnsupportedError
from tdedge_exporters.tflite.assemble import assemble

OPERATORS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Sum", "SumSquare"]


@st.composite
def reductions(draw, operators):
    """One reduction of an input or of a convolution, perhaps between two convolutions."""
    rank = draw(st.integers(1, 5))
    shape = [draw(st.integers(1, 4)) for _ in range(rank)]
    net = Net(*shape, seed=draw(st.integers(0, 99)))
    name = "x"
    if rank >= 3 and draw(st.booleans()):
        name = net.conv(name, 4, shape[1], *[1] * (rank - 2))
    operator = draw(st.sampled_from(operators))
    if operator == "LogSum":
        name = net.add("Exp", name)
    axes = draw(st.lists(st.integers(0, rank - 1), unique=True, max_size=rank))
    axes = [axis - rank if draw(st.booleans()) else axis for axis in axes]
    given_axes = [net.weight(array=np.array(axes, np.int64))] if axes else []
    keep = draw(st.booleans())
    name = net.add(f"Reduce{operator}", name, *given_axes, keepdims=int(keep))
    if keep and rank == 4 and draw(st.booleans()):
        net.add("Tanh", name)
    return net


@settings(max_examples=150, deadline=None, derandomize=True)
@given(reductions(OPERATORS), st.sampled_from(["nchw", "nhwc"]))
def test_reductions(net, layout):
    made = assert_lowers(net, layout, partitions=None)
    assert set(made.plan) <= {"DELEGATE", "RESHAPE"}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(reductions(["Prod"]))
def test_products(net):
    assert_lowers(net, partitions=None)


@pytest.mark.parametrize("operator", ["L2", "Max", "Mean", "Sum"])
def test_axes_as_an_attribute(operator):
    net = Net(2, 3, 4, 5)
    net.add(f"Reduce{operator}", "x", axes=[1, -1], keepdims=0)
    assert_lowers(net, opset=11)


def test_no_axes_may_mean_no_change():
    net = Net(2, 3, 4)
    name = net.add("ReduceSum", net.add("Tanh", "x"), noop_with_empty_axes=1)
    net.add("Sin", name)
    assert "SUM" not in assert_lowers(net).ops


def test_attention_over_channels_moves_nothing():
    """Mean and largest over channels and over pixels beside convolutions: no transpose but the two ends'."""
    net = Net(1, 3, 8, 8)
    a = net.add("Relu", net.conv("x", 8, 3, 3, 3, pads=1))
    pixels, channel = (net.weight(array=np.array(v, np.int64)) for v in ([2, 3], [1]))
    weights = net.add("Sigmoid", net.conv(net.add("ReduceMean", a, pixels), 8, 8, 1, 1))
    b = net.add("Mul", a, weights)
    both = net.add("Concat", net.add("ReduceMean", b, channel), net.add("ReduceMax", b, channel), axis=1)
    net.add("Mul", b, net.add("Sigmoid", net.conv(both, 1, 2, 7, 7, pads=3)))
    assert assert_lowers(net).ops.count("TRANSPOSE") == 2


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 4, 5), (2, 3, 2, 4, 5)])
@pytest.mark.parametrize("place", ["input", "conv"])
def test_global_average(shape, place):
    net = Net(*shape)
    name = net.conv("x", 8, 3, *[1] * (len(shape) - 2)) if place == "conv" else "x"
    net.add("GlobalAveragePool", name)
    made = assert_lowers(net)
    assert made.ops.count("TRANSPOSE") == (0 if place == "input" else 1)


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("place", ["input", "conv"])
def test_index_of_the_largest(operator, axis, keepdims, place):
    net = Net(2, 3, 4, 5)
    name = net.conv("x", 8, 3, 1, 1) if place == "conv" else net.add("Round", "x")
    net.add(operator, name, axis=axis, keepdims=keepdims)
    model = with_opset(net, 18)
    x = net.sample()
    (actual,), (expected,) = lowered(model).run({"x": x}).values(), run(model, x)
    assert actual.dtype == np.int64
    np.testing.assert_array_equal(actual, expected)


def test_large_exponents_do_not_overflow():
    net = Net(2, 6)
    axes = net.weight(array=np.array([1], np.int64))
    net.add("ReduceLogSumExp", net.add("Mul", "x", net.weight(array=200.0)), axes, keepdims=0)
    assert_lowers(net)


def test_what_is_refused():
    net = Net(2, 3)
    net.add("ReduceL1", "x", noop_with_empty_axes=1)
    assert "(ReduceL1): it has no axes and noop_with_empty_axes=1" in refusal(net, 18)
    net = Net(2, 3)
    net.add("ArgMax", "x", axis=1, select_last_index=1)
    with pytest.raises(UnsupportedError, match=r"\(ArgMax\): select_last_index=1"):
        assemble(with_opset(net, 18).graph, inputs_last=False)
