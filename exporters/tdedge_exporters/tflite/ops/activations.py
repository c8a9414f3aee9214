"""Activations."""

from __future__ import annotations

import onnx_ir as ir

from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.ops.rule import Rule, Rules


def lower_relu(b: Builder, node: ir.Node) -> None:
    """``Relu``."""
    (x,), of = b.operands(node)
    b.put(node.outputs[0], b.unary("RELU", x), of, non_negative=True)


RULES: Rules = {"Relu": Rule(lower_relu)}
