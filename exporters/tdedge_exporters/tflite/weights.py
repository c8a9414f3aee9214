"""float16 weights: stored in half precision and widened by ``DEQUANTIZE`` when the file is loaded."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tdedge.errors import UnsupportedError
from tdedge_exporters.tflite.program import Op, Program, Tensor

#: Operator -> which of its inputs are weights.
_WEIGHTS = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
}
_LARGEST = float(np.finfo(np.float16).max)


def store_float16(program: Program) -> None:
    """Store the float32 weights and biases of products in float16, in place.

    Raises:
        UnsupportedError: when a weight exceeds the largest float16 number.
    """
    widened: dict[Tensor, Tensor] = {}
    ops: list[Op] = []
    for op in program.ops:
        for index in _WEIGHTS.get(op.code, ()):
            tensor = op.inputs[index] if index < len(op.inputs) else None
            if tensor is None or tensor.data is None or tensor.dtype != np.float32:
                continue
            if tensor not in widened:
                made = _widen(tensor)
                widened[tensor] = made.outputs[0]
                ops.append(made)
            op.inputs[index] = widened[tensor]
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
