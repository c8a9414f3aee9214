"""Interpolation weights against ONNX's own operator, run on unit vectors; it rounds cubic ones to float32."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tdedge_exporters.tflite.interpolation import Filter, Resized, coordinates, is_outside, matrix, nearest

CASES = [(5, 10), (5, 7), (7, 5), (9, 3), (6, 6), (1, 4), (4, 1)]


def onnx_weights(axis: Resized, how: Filter) -> np.ndarray:
    node = helper.make_node(
        "Resize",
        ["x", "roi", "", "sizes"],
        ["y"],
        mode=how.mode,
        axes=[0],
        coordinate_transformation_mode=how.coordinates,
        nearest_mode=how.nearest_mode,
        cubic_coeff_a=how.cubic_coeff_a,
        exclude_outside=int(how.exclude_outside),
        antialias=int(how.antialias),
    )
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.DOUBLE, [axis.size, axis.size]),
        helper.make_tensor_value_info("roi", TensorProto.DOUBLE, [2]),
        helper.make_tensor_value_info("sizes", TensorProto.INT64, [1]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)]
    graph = helper.make_graph([node], "resize", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    feed = {"x": np.eye(axis.size), "roi": np.array(axis.roi), "sizes": np.array([axis.out])}
    return ReferenceEvaluator(model).run(None, feed)[0]


@pytest.mark.parametrize(
    "how",
    [
        Filter("linear"),
        Filter("linear", "align_corners"),
        Filter("linear", "asymmetric"),
        Filter("linear", antialias=True),
        Filter("linear", antialias=True, exclude_outside=True),
        Filter("cubic"),
        Filter("cubic", "half_pixel_symmetric", cubic_coeff_a=-0.5),
        Filter("cubic", exclude_outside=True),
        Filter("cubic", antialias=True),
        Filter("nearest", "asymmetric", "floor"),
        Filter("nearest", nearest_mode="ceil"),
        Filter("nearest", nearest_mode="round_prefer_ceil"),
    ],
    ids=str,
)
@pytest.mark.parametrize(("size", "out"), CASES)
def test_weights_are_onnx_ones(size, out, how):
    axis = Resized(size, out, out / size)
    assert np.allclose(matrix(axis, how), onnx_weights(axis, how), atol=1e-6)


@pytest.mark.parametrize(("size", "out"), CASES)
def test_region_beyond_the_ends_is_extrapolated(size, out):
    axis = Resized(size, out, out / size, (-0.4, 1.3))
    how = Filter("linear", "tf_crop_and_resize")
    assert np.allclose(matrix(axis, how), onnx_weights(axis, how), atol=1e-6)
    assert (matrix(axis, how)[is_outside(axis, how)] == 0).all()


def test_nearest_stays_on_the_axis():
    axis = Resized(4, 9, 2.25)
    index = nearest(axis, Filter(nearest_mode="ceil"))
    assert index.min() >= 0
    assert index.max() == 3


def test_one_result_in_the_torch_rule_is_the_first_element():
    assert coordinates(Resized(5, 1, 0.2), "pytorch_half_pixel").tolist() == [0]
