"""Transposed convolutions of any geometry in one to three dimensions, against ONNX Runtime."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.graphs import Net
from support.lowering_tflite import assert_lowers, refusal

from tdedge.errors import UnsupportedError

SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@st.composite
def transposed(draw, rank: int):
    """A network of one transposed convolution of any attributes that ONNX Runtime takes."""
    style = draw(st.sampled_from(["dense", "dense", "groups", "depthwise"]))
    groups = {"dense": 1, "groups": 2}.get(style) or draw(st.integers(2, 4))
    channels = groups if style == "depthwise" else groups * draw(st.integers(1, 3))
    outputs = draw(st.integers(1, 2 if rank == 3 else 3))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    if rank == 3:
        flat = draw(st.sampled_from(["full", "full", "full", "temporal", "spatial"]))
        kernel = {"full": kernel, "temporal": [kernel[0], 1, 1], "spatial": [1, *kernel[1:]]}[flat]
    size = [draw(st.integers(1, 5)) for _ in range(rank)]
    stride = [draw(st.integers(1, 4)) for _ in range(rank)]
    if rank == 3 and flat == "temporal" and draw(st.booleans()):
        stride[1:] = [1, 1]
    dilation = [draw(st.sampled_from([1, 1, 1, 2, 3])) for _ in range(rank)]
    sized = draw(st.sampled_from(["pads"] * 3 + ["output_shape", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    extra = [0 if sized.startswith("SAME") else draw(st.integers(0, s - 1)) for s in stride]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    full = [s * (n - 1) + r + e for s, n, r, e in zip(stride, size, reach, extra, strict=True)]
    attributes = {"strides": stride, "dilations": dilation, "output_padding": extra, "group": groups}
    if sized == "pads":
        begin = [draw(st.integers(0, min(r, f - 1))) for r, f in zip(reach, full, strict=True)]
        end = [draw(st.integers(0, min(r, f - 1 - p))) for r, f, p in zip(reach, full, begin, strict=True)]
        attributes["pads"] = [*begin, *end]
    elif sized == "output_shape":
        least = [min(max(f - r, n), f) for f, r, n in zip(full, reach, size, strict=True)]
        attributes["output_shape"] = [draw(st.integers(a, f)) for a, f in zip(least, full, strict=True)]
        if draw(st.booleans()):
            attributes["auto_pad"] = "SAME_UPPER"
    else:
        attributes["auto_pad"] = sized
    net = Net(draw(st.integers(1, 2)), channels, *size, seed=draw(st.integers(0, 9)))
    x = net.conv("x", channels, channels, *[1] * rank) if draw(st.booleans()) else "x"
    inputs = [x, net.weight(channels, outputs, *kernel)]
    if draw(st.booleans()):
        inputs.append(net.weight(outputs * groups))
    net.add("ConvTranspose", *inputs, name="y", **attributes)
    return net, draw(st.sampled_from(["nchw", "nhwc"]))


def check(net: Net, layout: str) -> None:
    try:
        assert_lowers(net, layout)
    except UnsupportedError as error:
        assume("where its taps reach" not in str(error))
        raise


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_any_geometry(rank):
    @SETTINGS
    @given(transposed(rank))
    def property_holds(case):
        check(*case)

    property_holds()


@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ([4, 4], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([3, 3], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ([3, 3], {"strides": [2, 2], "output_padding": [1, 1]}),
    ],
)
def test_common_forms_are_the_operator_alone(kernel, attributes):
    net = Net(1, 4, 6, 5)
    x = net.conv("x", 4, 4, 1, 1)
    net.add("ConvTranspose", x, net.weight(4, 3, *kernel), net.weight(3), **attributes)
    made = assert_lowers(net, "nhwc")
    assert made.ops.count("TRANSPOSE_CONV") == 1
    assert not {"SLICE", "PAD", "ADD"} & set(made.ops)


def test_kernel_as_large_as_its_stride_is_pointwise():
    net = Net(1, 4, 6, 5)
    net.add("ConvTranspose", "x", net.weight(4, 3, 2, 3), net.weight(3), strides=[2, 3])
    made = assert_lowers(net, "nhwc")
    assert made.ops.count("CONV_2D") == 1
    assert not {"TRANSPOSE_CONV", "SLICE", "PAD", "CONCATENATION"} & set(made.ops)


def test_phases_of_time_are_not_added_up():
    net = Net(1, 4, 5, 6, 5)
    net.add("ConvTranspose", "x", net.weight(4, 3, 4, 4, 4), strides=[2] * 3, pads=[1] * 6)
    made = assert_lowers(net)
    assert made.ops.count("TRANSPOSE_CONV") == 2
    assert "ADD" not in made.ops


def test_temporal_kernel_is_one_operator():
    net = Net(1, 4, 5, 6, 5)
    net.add("ConvTranspose", "x", net.weight(4, 3, 4, 1, 1), strides=[2, 1, 1], pads=[1, 0, 0, 1, 0, 0])
    made = assert_lowers(net)
    assert made.ops.count("TRANSPOSE_CONV") == 1
    assert not {"SLICE", "CONCATENATION"} & set(made.ops)


def test_depthwise_is_one_depthwise_convolution():
    net = Net(1, 6, 5, 5)
    net.add("ConvTranspose", "x", net.weight(6, 1, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1], group=6)
    made = assert_lowers(net)
    assert made.ops.count("DEPTHWISE_CONV_2D") == 1
    assert "TRANSPOSE_CONV" not in made.ops


def test_computed_weights():
    net = Net(3, 3, 4, 4)
    net.add("ConvTranspose", "x", net.add("Relu", "x"), strides=[2, 2], dilations=[2, 2])
    made = assert_lowers(net, partitions=None)
    assert "TRANSPOSE_CONV" in made.plan  # XNNPACK takes constant weights only


def test_computed_weights_in_groups_are_refused():
    net = Net(2, 4, 5, 5)
    net.add("ConvTranspose", "x", net.add("Relu", "x"), group=2, strides=[2, 2])
    assert "its weights are computed and group is not 1; use constant weights" in refusal(net)


def test_one_result_more_than_taps_reach_is_the_bias():
    net = Net(1, 1, 3, 3)
    net.add("ConvTranspose", "x", net.weight(1, 2, 3, 3), net.weight(2), strides=[3, 2], output_shape=[10, 8])
    assert_lowers(net)


def test_more_results_than_taps_reach_are_refused():
    net = Net(1, 2, 4)
    net.add("ConvTranspose", "x", net.weight(2, 2, 1), strides=[2], output_shape=[9])
    assert "asks for 9 results along spatial axis 0, where its taps reach 7" in refusal(net)


def test_four_axes_are_refused():
    net = Net(1, 2, 3, 3, 3, 3)
    net.add("ConvTranspose", "x", net.weight(2, 2, 2, 2, 2, 2))
    assert "a transposed convolution over 4 axes; 1 to 3 are supported" in refusal(net)
