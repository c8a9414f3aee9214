"""Elements picked by index or by size, broadcasting to a shape, and changes of element type."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy, g_shape
from tdedge_exporters.tflite.ops.elementwise import check_types
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.program import Tensor
from tdedge_exporters.tflite.sides import Cut, cut_of
from tdedge_exporters.tflite.take import gather, repeat, take

#: ``CAST`` between these, and the operator's version for one of them.
_CAST_VERSIONS = {"float32": 1, "int32": 1, "int64": 1, "uint8": 1, "bool": 1, "int16": 2, "int8": 3}


def gather_policy(node: ir.Node) -> Policy:
    """Either way where one constant list picks along an axis; else the result's axes are others."""
    indices = node.inputs[1]
    listed = g.constant(indices) is not None and indices is not None and len(g_shape(indices)) == 1
    return Policy.ANY if listed else Policy.FIRST


def lower_gather(b: Builder, node: ir.Node) -> None:
    """``Gather`` with constant or computed indices of any rank, negative ones counted from the end."""
    data, indices, result = node.inputs[0], node.inputs[1], node.outputs[0]
    shape = b.shape(data)
    axis = g.attr_int(node, "axis", 0) % len(shape)
    size = shape[axis]
    array = g.constant(indices)
    cut = cut_of(b, node) if gather_policy(node) is Policy.ANY else Cut()
    stored = cut.axes(len(shape)).index(axis)
    tensor = cut.get(b, data)
    if array is None:
        made = gather(b, tensor, stored, _wrapped(b, b.get(indices), size))
    else:
        picked = [int(each) for each in array.reshape(-1)]
        if not picked or not all(-size <= each < size for each in picked):
            b.refuse(node, f"its indices are not a choice of [{-size}, {size - 1}]", "mend the indices")
        made = take(b, tensor, stored, [each % size for each in picked])
        made = made if cut != Cut() else b.reshape(made, b.shape(result))
    cut.put(b, result, made, non_negative=b.is_non_negative(data))


def _wrapped(b: Builder, indices: Tensor, size: int) -> Tensor:
    """Negative indices counted from the end."""
    limit = b.constant(np.array([size]), indices.dtype)
    return b.emit("FLOOR_MOD", [indices, limit], indices.shape, schema.FloorModOptionsT())


def lower_top_k(b: Builder, node: ir.Node) -> None:
    """``TopK`` along any axis, in order, the lower index first among equals; a full sort is one of these.

    The kernel picks the largest along the last axis. The smallest are the largest of ``-x``, or of ``-1 - x``
    for integers, which has no overflow.

    Raises:
        UnsupportedError: where ``K`` is computed, or for an element type without a kernel.
    """
    data, values, indices = node.inputs[0], node.outputs[0], node.outputs[1]
    shape = b.shape(data)
    axis = g.attr_int(node, "axis", -1) % len(shape)
    if b.array(node, 1) is None:
        b.refuse(node, "K is computed", "make it a constant")
    count = b.shape(values)[axis]
    before, size, after = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    x = b.transpose(b.get(data, shape=(before, size, after)), (0, 2, 1))
    check_types(b, node, [x], ("float32", "int32", "int64"))
    smallest = not g.attr_int(node, "largest", 1)
    inputs = [_mirrored(b, x) if smallest else x, b.integers((count,), ())]
    found = (before, after, count)
    top = b.emit("TOPK_V2", inputs, found, schema.TopKV2OptionsT())
    places = Tensor("", found, np.dtype(np.int32))
    b.program.ops[-1].outputs.append(places)
    wide = b.emit("CAST", [places], found, schema.CastOptionsT(), dtype=np.dtype(np.int64))
    top = _mirrored(b, top) if smallest else top
    for value, tensor in ((values, top), (indices, wide)):
        b.put(value, b.reshape(b.transpose(tensor, (0, 2, 1)), b.shape(value)))


def _mirrored(b: Builder, x: Tensor) -> Tensor:
    """``-x``, or ``-1 - x`` for integers: its own inverse, it reverses the order."""
    if x.dtype.kind == "f":
        return b.unary("NEG", x, schema.NegOptionsT())
    return b.binary("SUB", b.constant(np.array([-1]), x.dtype), x)


def lower_expand(b: Builder, node: ir.Node) -> None:
    """``Expand``: axes of size 1 are repeated, neighbours that are both repeated at once."""
    data, result = node.inputs[0], node.outputs[0]
    target, cut = b.shape(result), cut_of(b, node)
    shape = (1,) * (len(target) - len(b.shape(data))) + b.shape(data)
    tensor = cut.get(b, data, shape)
    full = [target[axis] for axis in cut.axes(len(target))]
    count, grown = 1, list(tensor.shape)
    for axis in range(len(full)):
        if tensor.shape[axis] != full[axis]:
            count *= full[axis]
            grown[axis] = full[axis]
        is_last = axis + 1 == len(full) or tensor.shape[axis + 1] == full[axis + 1]
        if count > 1 and is_last:
            tensor = b.reshape(repeat(b, tensor, axis, count), grown)
            count = 1
    cut.put(b, result, tensor, non_negative=b.is_non_negative(data))


def lower_cast(b: Builder, node: ir.Node) -> None:
    """``Cast`` and ``CastLike`` between the element types of the format; float64 is computed in float32.

    Raises:
        UnsupportedError: for a type that the format does not have, or float16, which would round.
    """
    data, result = node.inputs[0], node.outputs[0]
    assert result.dtype is not None
    name = str(result.dtype.numpy().name)
    of = b.order_of(node)
    tensor = b.get(data, of, b.held_shape(data, of))
    target = "float32" if name == "float64" else name
    if target not in _CAST_VERSIONS:
        b.refuse(node, f"it casts to {name}, which has no kernel", "keep that part in float32")
    positive = target == "float32" and (b.is_non_negative(data) or tensor.dtype.name in ("bool", "uint8"))
    if tensor.dtype.name != target:
        version = max(_CAST_VERSIONS[target], _CAST_VERSIONS[tensor.dtype.name])
        dtype = np.dtype(target)
        tensor = b.emit("CAST", [tensor], tensor.shape, schema.CastOptionsT(), version=version, dtype=dtype)
    b.put(result, tensor, of, non_negative=positive)


RULES: Rules = {
    "Cast": Rule(lower_cast),
    "CastLike": Rule(lower_cast),
    "Expand": Rule(lower_expand),
    "Gather": Rule(lower_gather, gather_policy),
    "TopK": Rule(lower_top_k),
}
