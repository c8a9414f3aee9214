"""Reductions."""

from __future__ import annotations

import math

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops.rule import Rule, Rules


def lower_global_average(b: Builder, node: ir.Node) -> None:
    """``GlobalAveragePool`` in any number of axes: a mean over rows of pixels."""
    data, result = node.inputs[0], node.outputs[0]
    n, c, *spatial = b.shape(data)
    x = b.get_last(data, (n, math.prod(spatial), 1, c))
    options = schema.ReducerOptionsT()
    options.keepDims = True
    made = b.emit("MEAN", [x, b.integers((1, 2))], (n, 1, 1, c), options)
    b.put_last(result, made, non_negative=b.is_non_negative(data))


RULES: Rules = {"GlobalAveragePool": Rule(lower_global_average, Policy.LAST)}
