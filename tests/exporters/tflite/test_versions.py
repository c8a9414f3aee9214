import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.tflite.program import Op, Scales, Tensor
from tdedge_exporters.tflite.versions import int8_version

INT8 = np.dtype(np.int8)


def tensor(*shape: int, scales: float | list[float] = 0.5) -> Tensor:
    return Tensor("t", shape, INT8, scales=Scales(np.atleast_1d(np.float32(scales))))


@pytest.mark.parametrize(
    ("code", "version"),
    [("ADD", 2), ("FULLY_CONNECTED", 4), ("LEAKY_RELU", 1), ("QUANTIZE", 1), ("RESHAPE", 1)],
)
def test_plain(code, version):
    assert int8_version(Op(code, [tensor(2, 3)], [tensor(2, 3)])) == version


def test_grouped_convolution():
    x, y = tensor(1, 4, 4, 8), tensor(1, 4, 4, 8)
    assert int8_version(Op("CONV_2D", [x, tensor(8, 3, 3, 8)], [y])) == 3
    assert int8_version(Op("CONV_2D", [x, tensor(8, 3, 3, 2)], [y])) == 6


def test_many_axes():
    versions = [int8_version(Op("TRANSPOSE", [tensor(*(2,) * rank)], [tensor()])) for rank in (4, 5, 6)]
    assert versions == [2, 4, 6]
    assert int8_version(Op("SLICE", [tensor(*(2,) * 5)], [tensor()])) == 5


def test_scale_per_channel():
    real = Tensor("r", (2,), np.dtype(np.float32))
    assert int8_version(Op("DEQUANTIZE", [tensor(2)], [real])) == 2
    assert int8_version(Op("DEQUANTIZE", [tensor(2, scales=[0.5, 1.0])], [real])) == 5


def test_product_that_enlarges():
    def version(scale: float) -> int:
        return int8_version(Op("MUL", [tensor(2), tensor(2)], [tensor(2, scales=scale)]))

    assert (version(0.5), version(0.25)) == (2, 3)


def test_half_pixels():
    op = Op("RESIZE_BILINEAR", [tensor(1, 2, 2, 1)], [tensor(1, 4, 4, 1)], schema.ResizeBilinearOptionsT())
    assert int8_version(op) == 2
    op.options.halfPixelCenters = True
    assert int8_version(op) == 3


def test_operator_without_an_integer_form():
    with pytest.raises(KeyError, match="GELU"):
        int8_version(Op("GELU", [tensor(2)], [tensor(2)]))
