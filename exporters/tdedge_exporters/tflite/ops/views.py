"""Operators that only look at the same elements otherwise: reshapes are free, a transpose is at most one."""

from __future__ import annotations

import onnx_ir as ir

from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy, permutation, physical_permutation
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import FIRST


def lower_identity(b: Builder, node: ir.Node) -> None:
    """``Identity``, and ``Dropout`` as it is outside training (its mask is all true)."""
    if len(node.outputs) > 1 and node.outputs[1].uses():
        b.refuse(node, "its mask is used")
    b.alias(node.outputs[0], node.inputs[0])


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
    "Dropout": Rule(lower_identity),
    "Flatten": Rule(lower, Policy.VIEW),
    "Identity": Rule(lower_identity),
    "Reshape": Rule(lower, Policy.VIEW),
    "Squeeze": Rule(lower, Policy.VIEW),
    "Transpose": Rule(lower_transpose, Policy.TRANSPOSE),
    "Unsqueeze": Rule(lower, Policy.VIEW),
}
