"""Poolings of any geometry in one to three dimensions, against ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import helper
from support.graphs import Net, run
from support.lowering_tflite import assert_lowers, refusal, with_opset

from tdedge.errors import UnsupportedError

SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
BEFORE = ["nothing", "Relu", "Conv"]


def after(net: Net, before: str) -> str:
    """The value that is pooled: the input, without negative elements, or stored channels-last."""
    if before == "Relu":
        return net.add("Relu", "x")
    return net.conv("x", net.shape[1], net.shape[1], *[1] * (len(net.shape) - 2)) if before == "Conv" else "x"


@st.composite
def pooling(draw, op: str, rank: int):
    """A network of one pooling of any attributes that ONNX Runtime takes."""
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    dilation = [draw(st.sampled_from([1, 1, 1, 2, 3])) for _ in range(rank)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [r + draw(st.integers(0, 6)) for r in reach]
    attributes = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 4)) for _ in range(rank)],
        "dilations": dilation,
    }
    auto = draw(st.sampled_from(["NOTSET"] * 4 + ["VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    else:
        attributes["auto_pad"] = auto
        if auto.startswith("SAME"):  # ONNX Runtime ignores dilations then, and crops before wide strides
            attributes["dilations"] = [1] * rank
            attributes["strides"] = [min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)]
    if op == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    net = Net(draw(st.integers(1, 2)), draw(st.integers(1, 4)), *size, seed=draw(st.integers(0, 9)))
    net.add(op, after(net, draw(st.sampled_from(BEFORE))), name="y", **attributes)
    return net, draw(st.sampled_from(["nchw", "nhwc"]))


def check(net: Net, layout: str) -> None:
    try:
        assert_lowers(net, layout, opset=22)
    except UnsupportedError as error:
        assume("padding alone" not in str(error))
        raise


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_any_geometry(op, rank):
    @SETTINGS
    @given(pooling(op, rank))
    def property_holds(case):
        check(*case)

    property_holds()


def test_stem_pooling_after_relu_pads_with_zeros():
    net = Net(1, 4, 14, 14)
    net.add("MaxPool", net.add("Relu", "x"), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    made = assert_lowers(net)
    assert {"PAD", "MAX_POOL_2D"} <= set(made.ops)
    assert "CONCATENATION" not in made.ops


def test_padding_of_a_maximum_over_any_sign_needs_no_constant():
    net = Net(1, 4, 14, 14)
    net.add("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    made = assert_lowers(net)
    assert not {"PAD", "PADV2"} & set(made.ops)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_same_padding_is_the_operator_alone(op):
    net = Net(1, 4, 9, 9)
    net.add(op, "x", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    assert not {"PAD", "MUL", "CONCATENATION"} & set(assert_lowers(net).ops)


def test_non_negative_stays_non_negative():
    net = Net(1, 4, 16, 16)
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    x = net.add("AveragePool", net.add("Relu", "x"), count_include_pad=1, **pool)
    net.add("MaxPool", net.add("MaxPool", x, **pool), **pool)
    assert "CONCATENATION" not in assert_lowers(net).ops


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 7, 5), (2, 3, 4, 7, 5)])
def test_global_maximum(shape):
    net = Net(*shape)
    net.add("GlobalMaxPool", after(net, "Conv"))
    assert_lowers(net)


def test_copies_never_win():
    """With dilation 3 a copy of the border element would be a tap of its own."""
    net = Net(1, 1, 11)
    net.add("MaxPool", "x", kernel_shape=[4], dilations=[3], strides=[1], pads=[3, 3])
    made = assert_lowers(net)
    rising = -np.linspace(5, 1, 11, dtype=np.float32).reshape(1, 1, 11)
    for x in (rising, rising[..., ::-1]):
        (expected,) = run(with_opset(net, 18), x)
        (actual,) = made.run({"x": x}).values()
        assert np.array_equal(actual, expected)


def test_window_on_padding_alone_is_refused():
    net = Net(1, 2, 2, 2)
    net.add("MaxPool", "x", kernel_shape=[2, 1], dilations=[3, 1], pads=[1, 0, 1, 0])
    assert "window lies on padding alone; use smaller pads" in refusal(net)


def test_indices_are_refused():
    net = Net(1, 2, 8, 8)
    net.nodes.append(helper.make_node("MaxPool", ["x"], ["y", "i"], name="p", kernel_shape=[2, 2]))
    net.add("Identity", "i")
    assert "'p' (MaxPool): its output Indices is used" in refusal(net)


def test_four_axes_are_refused():
    net = Net(1, 2, 4, 4, 4, 4)
    net.add("MaxPool", "x", kernel_shape=[2] * 4)
    assert "a pooling over 4 axes; 1 to 3 are supported" in refusal(net)
