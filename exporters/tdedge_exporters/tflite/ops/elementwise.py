"""Arithmetic element by element, with NumPy's broadcasting."""

from __future__ import annotations

import onnx_ir as ir

from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.ops.rule import Rule, Rules

_CODES = {"Add": "ADD"}


def lower(b: Builder, node: ir.Node) -> None:
    """``Add`` and its kin, of two operands or more."""
    (first, *rest), of = b.operands(node)
    for tensor in rest:
        first = b.binary(_CODES[node.op_type], first, tensor)
    b.put(node.outputs[0], first, of)


RULES: Rules = {operator: Rule(lower) for operator in _CODES}
