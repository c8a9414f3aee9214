"""Resizes in every mode, against ONNX's reference evaluated in float64."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.graphs import Net, run
from support.lowering_tflite import assert_lowers, lowered, refusal, with_opset

from tdedge_exporters.graph import dims
from tdedge_exporters.reference import Evaluator

SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
COORDINATES = [
    *("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"),
    *("half_pixel_symmetric", "tf_crop_and_resize"),
]


def not_torch(coordinates: str) -> bool:
    """ONNX's reference departs from its specification for a cubic result of one element."""
    return coordinates != "pytorch_half_pixel"


@st.composite
def resizing(draw, rank: int):
    """A network of one ``Resize`` of any attributes, along any axes."""
    mode = draw(st.sampled_from(["nearest", "nearest", "linear", "linear", "cubic"]))
    how = {"mode": mode, "coordinate_transformation_mode": draw(st.sampled_from(COORDINATES))}
    if mode == "nearest":
        rules = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
        how["nearest_mode"] = draw(st.sampled_from(rules))
    elif draw(st.integers(0, 3)) == 0:
        how["antialias"] = 1
    if mode == "cubic":
        how["coordinate_transformation_mode"] = draw(st.sampled_from(COORDINATES).filter(not_torch))
        how["cubic_coeff_a"] = draw(st.sampled_from([-0.75, -0.5]))
        how["exclude_outside"] = draw(st.integers(0, 1))
    spatial = [draw(st.integers(1, 7)) for _ in range(rank)]
    net = Net(draw(st.integers(1, 2)), draw(st.integers(1, 3)), *spatial, seed=draw(st.integers(0, 9)))
    axes = list(range(2, rank + 2))
    if draw(st.integers(0, 3)) == 0:
        axes = draw(st.lists(st.sampled_from(range(rank + 2)), min_size=1, unique=True))
    how["axes"] = axes
    whole = st.sampled_from([1.0, 2.0, 3.0, 0.5, 1.5, 4 / 3, 0.7])
    sizes = [net.shape[axis] for axis in axes]
    roi, scales, wanted = "", "", ""
    if how["coordinate_transformation_mode"] == "tf_crop_and_resize":
        share = st.sampled_from([-0.25, 0.0, 0.2])
        region = [draw(share) for _ in axes] + [1 + draw(share) for _ in axes]
        roi = net.weight(array=np.array(region), name="roi")
        how["extrapolation_value"] = draw(st.sampled_from([0.0, 2.5]))
    if draw(st.booleans()):
        factors = [max(draw(whole), 1 / size) for size in sizes]
        scales = net.weight(array=np.array(factors, np.float32), name="scales")
    else:
        wanted = net.weight(array=np.array([draw(st.integers(1, 12)) for _ in axes]), name="sizes")
        policies = ["stretch", "stretch", "not_larger", "not_smaller"]
        how["keep_aspect_ratio_policy"] = draw(st.sampled_from(policies))
        how.pop("keep_aspect_ratio_policy") if roi else None
    before = draw(st.sampled_from(["nothing", "Relu", "Conv"]))
    x = net.conv("x", net.shape[1], net.shape[1], *[1] * rank) if before == "Conv" else "x"
    x = net.add("Relu", x) if before == "Relu" else x
    net.add("Resize", x, roi, scales, wanted, name="y", **how)
    return net, draw(st.sampled_from(["nchw", "nhwc"]))


def check(net: Net, layout: str) -> None:
    """Against ONNX's reference, or else ONNX Runtime: each has its own errors where coordinates tie.

    The reference takes the wrong neighbour where a coordinate is next to an integer but not on it; ONNX
    Runtime computes coordinates in float32, and knows not every combination.
    """
    model = with_opset(net, 19)
    assume(all(isinstance(size, int) and size > 0 for size in dims(model.graph.outputs[0])))
    x = net.sample()
    made = lowered(model, layout)
    actual = made.run({"x": x})["y"]
    assert made.partitions == 1, made.plan
    if not is_close(actual, Evaluator(model).run({"x": x})["y"]):
        assert is_close(actual, run(model, x)[0])


def is_close(actual: np.ndarray, expected: np.ndarray) -> bool:
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1e-3)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_any_resize(rank):
    @SETTINGS
    @given(resizing(rank))
    def property_holds(case):
        check(*case)

    property_holds()


def resize(shape, factors, **how) -> Net:
    net = Net(*shape)
    x = net.conv("x", shape[1], shape[1], *[1] * (len(shape) - 2))
    net.add("Resize", x, "", net.weight(array=np.array([1, 1, *factors], np.float32)), name="y", **how)
    return net


@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("factors", [(2, 2), (3, 1.5), (0.5, 0.5), (0.4, 2)])
def test_linear_images_are_one_operator(factors, coordinates):
    net = resize((1, 3, 10, 12), factors, mode="linear", coordinate_transformation_mode=coordinates)
    assert assert_lowers(net, "nhwc").ops.count("RESIZE_BILINEAR") == 1


def test_linear_videos_are_two_operators():
    net = resize((1, 3, 4, 5, 6), (2, 2, 2), mode="linear")
    made = assert_lowers(net)
    assert made.ops.count("RESIZE_BILINEAR") == 2
    assert "BATCH_MATMUL" not in made.ops


def test_nearest_by_whole_factors_is_copies():
    net = resize((1, 3, 4, 5), (2, 3), coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    made = assert_lowers(net, "nhwc")
    assert made.ops.count("CONCATENATION") == 2
    assert not {"SLICE", "BATCH_MATMUL", "RESIZE_NEAREST_NEIGHBOR"} & set(made.ops)


def test_nearest_of_no_short_pattern_is_a_product():
    net = resize((1, 2, 311, 3), (1.5, 1), nearest_mode="floor")
    assert "BATCH_MATMUL" in assert_lowers(net).ops


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_forms_before_version_11(mode):
    for op, opset in (("Resize", 10), ("Upsample", 9)):
        net = Net(1, 2, 3, 4)
        net.add(op, "x", net.weight(array=np.array([1, 1, 2, 3], np.float32)), mode=mode)
        assert_lowers(net, opset=opset)
    net = Net(1, 2, 3, 4)
    net.add("Upsample", "x", mode=mode, scales=[1.0, 1.0, 2.0, 3.0])
    assert_lowers(net, opset=7)


def test_sign_is_kept():
    net = Net(1, 3, 8, 8)
    x = net.add("Relu", "x")
    x = net.add("Resize", x, "", net.weight(array=np.array([1, 1, 2, 2], np.float32)), mode="linear")
    net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    assert "PAD" in assert_lowers(net).ops


def test_computed_scales_are_refused():
    net = Net(4)
    net.add("Resize", "x", "", net.add("Relu", "x"))
    assert "computed" in refusal(net) or "no static shape" in refusal(net)


def test_huge_matrix_is_refused():
    net = Net(1, 1, 1, 5000)
    net.add("Resize", "x", "", net.weight(array=np.array([1, 1, 1, 1.1], np.float32)), mode="cubic")
    assert "its interpolation matrix would be 5500 x 5000" in refusal(net)
