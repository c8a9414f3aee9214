"""Weights in fewer bits, widened by ``DEQUANTIZE`` when the file is loaded; the arithmetic stays float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tdedge.errors import UnsupportedError
from tdedge_exporters.quantize.grids import WeightGrid
from tdedge_exporters.tflite.program import Op, Program, Scales, Tensor
from tdedge_exporters.tflite.versions import int8_version

#: Operator -> which of its inputs are its weight and its bias.
_WEIGHTS = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
}
#: Operator -> axis of the output channels of its weight.
_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
_LARGEST = float(np.finfo(np.float16).max)
#: Bytes that each channel's scale and zero point take, and those of one more tensor and operator.
_CHANNEL, _TENSOR = 12, 160


def axis_of(op: Op) -> int | None:
    """Axis of the output channels of an operator's weight; None where it is no product."""
    return _AXES.get(op.code)


def store_float16(program: Program) -> None:
    """Store the float32 weights and biases of products in float16, in place.

    Raises:
        UnsupportedError: when a weight exceeds the largest float16 number.
    """
    _store(program, lambda op, tensor: _widen(tensor), biases=True)


def store_int8(program: Program) -> None:
    """Store the float32 weights of products in int8 with a scale per output channel, in place.

    Small weights, and those of channels with a few elements only, are left as they are: their scales would
    take more bytes than are saved.
    """

    def made(op: Op, tensor: Tensor) -> Op | None:
        assert tensor.data is not None
        axis = _AXES[op.code]
        if 3 * tensor.data.size <= _CHANNEL * tensor.shape[axis] + _TENSOR:
            return None
        return dequantised(tensor, WeightGrid.of(tensor.data, axis))

    _store(program, made, biases=False)


def _store(program: Program, widen: Callable[[Op, Tensor], Op | None], *, biases: bool) -> None:
    widened: dict[tuple[Tensor, int], Tensor] = {}
    ops: list[Op] = []
    for op in program.ops:
        for index in _WEIGHTS.get(op.code, ())[: 2 if biases else 1]:
            tensor = op.inputs[index] if index < len(op.inputs) else None
            if tensor is None or tensor.data is None or tensor.dtype != np.float32:
                continue
            key = tensor, _AXES[op.code]
            if key not in widened:
                made = widen(op, tensor)
                widened[key] = tensor if made is None else made.outputs[0]
                ops += [] if made is None else [made]
            op.inputs[index] = widened[key]
        ops.append(op)
    program.ops = ops


def _widen(tensor: Tensor) -> Op:
    assert tensor.data is not None
    if np.abs(tensor.data).max(initial=0.0) > _LARGEST:
        raise UnsupportedError(
            f"tflite:float16: weight {tensor.name!r} exceeds {_LARGEST:g}, the largest float16 number; "
            "export float32"
        )
    half = np.dtype(np.float16)
    stored = Tensor(f"{tensor.name}/float16", tensor.shape, half, tensor.data.astype(half))
    whole = Tensor(tensor.name, tensor.shape, tensor.dtype)
    return Op("DEQUANTIZE", [stored], [whole], schema.DequantizeOptionsT(), version=3)


def dequantised(weight: Tensor, grid: WeightGrid) -> Op:
    """The operator that gives a float32 weight from its integers on ``grid``."""
    assert weight.data is not None
    whole = grid.quantise(weight.data)
    stored = Tensor(f"{weight.name}/int8", weight.shape, whole.dtype, whole)
    stored.scales = Scales(grid.scales, axis=grid.axis)
    made = Op("DEQUANTIZE", [stored], [Tensor(weight.name, weight.shape, weight.dtype)])
    made.options, made.version = schema.DequantizeOptionsT(), int8_version(made)
    return made
