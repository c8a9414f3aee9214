"""Operators that only look at the same elements otherwise, or at their shape alone.

Reshapes are free, a transpose is at most one. Shapes are static, so what depends on them only is constant.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy, permutation, physical_permutation
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import FIRST
from tdedge_exporters.tflite.program import Array


def lower_identity(b: Builder, node: ir.Node) -> None:
    """``Identity``."""
    b.alias(node.outputs[0], node.inputs[0])


def lower_dropout(b: Builder, node: ir.Node) -> None:
    """``Dropout`` as it is outside training: nothing is dropped, its mask is all true.

    Raises:
        UnsupportedError: when it is in training mode, or a computed value decides that.
    """
    training = b.array(node, 2)
    if training is not None and training.any():
        b.refuse(node, "training_mode=True drops at random", "export the network in evaluation mode")
    b.alias(node.outputs[0], node.inputs[0])
    for mask in node.outputs[1:]:
        if mask.uses() or mask.is_graph_output():
            dtype = np.bool_ if mask.dtype is None else mask.dtype.numpy()
            b.put(mask, b.constant(np.ones(b.shape(mask)), dtype), non_negative=True)


def lower_constant(b: Builder, node: ir.Node) -> None:
    """``Constant``, ``Shape``, ``Size``, ``ConstantOfShape`` and ``Range``: known before a run.

    Raises:
        UnsupportedError: when a computed value decides what it is.
    """
    result = node.outputs[0]
    array = _known(b, node)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    b.put(result, b.constant(array, array.dtype), non_negative=bool((array >= 0).all()))


def _known(b: Builder, node: ir.Node) -> Array:
    if node.op_type == "Shape":
        shape = b.shape(node.inputs[0])
        begin, end = g.attr_int(node, "start", 0), g.attr_int(node, "end", len(shape))
        return np.array(shape[begin:end], np.int64)
    if node.op_type == "Size":
        return np.array(math.prod(b.shape(node.inputs[0])), np.int64)
    if node.op_type == "ConstantOfShape":
        fill = node.attributes.get("value")
        value = np.zeros(1, np.float32) if fill is None else fill.as_tensor().numpy()
        return np.full(b.shape(node.outputs[0]), value.reshape(-1)[0])
    if node.op_type == "Range":
        first, last, step = (b.array(node, i) for i in range(3))
        made: Array = np.arange(first, last, step)  # type: ignore[call-overload]
        return made
    array = g.constant(node.outputs[0])
    if array is None or array.dtype.kind not in "biuf":
        b.refuse(node, "its value is no tensor of numbers")
    return array


def lower(b: Builder, node: ir.Node) -> None:
    """``Reshape``, ``Flatten``, ``Squeeze``, ``Unsqueeze``: the memory stays, in the order it is in."""
    data, result = node.inputs[0], node.outputs[0]
    of = b.order_of(node)
    assert data is not None
    b.put(result, b.get(data, of, b.held_shape(data, of)), of, non_negative=b.is_non_negative(data))


def lower_transpose(b: Builder, node: ir.Node) -> None:
    """``Transpose``, composed with the change of order on either side."""
    data, result = node.inputs[0], node.outputs[0]
    assert data is not None
    before = b.layout.last(data) if b.layout.reads_last(node) else FIRST
    after = b.order_of(node)
    moves = physical_permutation(b.shape(data), before, permutation(node), after)
    if moves is None:
        before = after = FIRST
        moves = permutation(node)
    made = b.transpose(b.get(data, before), moves)
    b.put(result, made, after, non_negative=b.is_non_negative(data))


RULES: Rules = {
    "Constant": Rule(lower_constant, Policy.FIRST),
    "ConstantOfShape": Rule(lower_constant, Policy.FIRST),
    "Dropout": Rule(lower_dropout),
    "Flatten": Rule(lower, Policy.VIEW),
    "Identity": Rule(lower_identity),
    "Range": Rule(lower_constant, Policy.FIRST),
    "Reshape": Rule(lower, Policy.VIEW),
    "Shape": Rule(lower_constant, Policy.FIRST),
    "Size": Rule(lower_constant, Policy.FIRST),
    "Squeeze": Rule(lower, Policy.VIEW),
    "Transpose": Rule(lower_transpose, Policy.TRANSPOSE),
    "Unsqueeze": Rule(lower, Policy.VIEW),
}
