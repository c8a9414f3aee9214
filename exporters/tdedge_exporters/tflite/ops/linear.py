"""Matrix products."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import FIRST, Order
from tdedge_exporters.tflite.program import Array, Tensor


def policy(node: ir.Node) -> Policy:
    """With constant weights the order of a flattened image is folded into them."""
    return Policy.FOLD if g.constant(node.inputs[1]) is not None else Policy.FIRST


def lower_gemm(b: Builder, node: ir.Node) -> None:
    """``Gemm`` with constant weights."""
    data = node.inputs[0]
    weight = b.array(node, 1)
    assert data is not None and weight is not None
    if not g.attr_int(node, "transB", 0):
        weight = weight.T
    weight = weight * np.float32(g.attr_float(node, "alpha", 1.0))
    bias = b.array(node, 2)
    of = b.layout.last(data) if b.layout.reads_last(node) else FIRST
    n, features = b.shape(data)
    x = b.get(data, of, (n, features))
    if of != FIRST:
        weight = _stored_columns(weight, of)
    made = fully_connected(
        b, x, b.constant(weight), b.zeros(weight.shape[0]) if bias is None else b.constant(bias)
    )
    b.put(node.outputs[0], made)


def _stored_columns(weight: Array, of: Order) -> Array:
    """Columns of ``(out, c*s)`` in the order the input's features are stored: ``(s, c)``."""
    rows = weight.shape[0]
    return weight.reshape(rows, of.c, of.s).transpose(0, 2, 1).reshape(rows, -1)


def fully_connected(b: Builder, x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    """``x (N, I)``, ``w (O, I)``, ``bias (O,)`` to ``(N, O)``."""
    options = schema.FullyConnectedOptionsT()
    return b.emit("FULLY_CONNECTED", [x, w, bias], (x.shape[0], w.shape[0]), options)


RULES: Rules = {"Gemm": Rule(lower_gemm, policy)}
