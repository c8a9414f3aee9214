"""Matrix products: ``FULLY_CONNECTED`` where the right operand is constant, else ``BATCH_MATMUL``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy, g_shape
from tdedge_exporters.tflite.ops.elementwise import check_types
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import FIRST, Order, Shape
from tdedge_exporters.tflite.program import Array, Tensor

#: ``BATCH_MATMUL`` takes at most this many axes.
_MOST_AXES = 4


def policy(node: ir.Node) -> Policy:
    """With constant weights the order of a flattened image is folded into them."""
    data, weight = node.inputs[0], node.inputs[1]
    if data is None or g.constant(weight) is None or g.attr_int(node, "transA", 0):
        return Policy.FIRST
    return Policy.FOLD if len(g_shape(data)) == 2 else Policy.FIRST


def lower_gemm(b: Builder, node: ir.Node) -> None:
    """``Gemm``: ``alpha * A' * B' + beta * C``, every operand constant or computed.

    Raises:
        UnsupportedError: for elements that are no floating-point numbers.
    """
    first, second, result = node.inputs[0], node.inputs[1], node.outputs[0]
    alpha, beta = g.attr_float(node, "alpha", 1.0), g.attr_float(node, "beta", 1.0)
    flip = g.attr_int(node, "transA", 0) == 1, g.attr_int(node, "transB", 0) == 1
    n, outputs = b.shape(result)
    weight: Any = g.constant(second)
    addend = node.inputs[2] if len(node.inputs) > 2 and beta != 0 else None
    if weight is None:
        operands = [b.get(first), b.get(second)]
        check_types(b, node, operands, ("float32",))
        made = _scaled(b, _batch_matmul(b, operands[0], operands[1], (n, outputs), flip), alpha)
    else:
        weight = _float(b, node, weight if flip[1] else weight.T) * np.float32(alpha)
        bias = _bias(b, addend, outputs, beta)
        if bias is not None:
            addend = None
        x, weight = _rows(b, node, weight, flip=flip[0])
        w = _weights(b, second, weight)
        made = fully_connected(b, x, w, b.zeros(outputs) if bias is None else bias)
    if addend is not None:
        shape = (1,) * (2 - len(b.shape(addend))) + b.shape(addend)
        made = b.binary("ADD", made, _scaled(b, b.get(addend, FIRST, shape), beta))
    b.put(result, made)


def _bias(b: Builder, addend: ir.Value | None, outputs: int, beta: float) -> Tensor | None:
    """A constant addend with one number per output, or one for all, as a bias."""
    array: Any = g.constant(addend)
    if addend is None or array is None or (array.ndim == 2 and array.shape[0] > 1):
        return None
    return b.constant(np.broadcast_to(array.reshape(-1) * np.float32(beta), (outputs,)))


def _scaled(b: Builder, x: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return x
    return (
        b.constant(x.data * np.float32(factor))
        if x.data is not None
        else b.binary("MUL", x, b.constant(factor))
    )


def _float(b: Builder, node: ir.Node, array: Array) -> Array:
    if array.dtype.kind != "f":
        b.refuse(node, f"its weights have the element type {array.dtype.name}; it must be float32")
    return array.astype(np.float32)


def _rows(b: Builder, node: ir.Node, weight: Array, *, flip: bool = False) -> tuple[Tensor, Array]:
    """Input 0 as rows of features, and ``weight (out, features)`` with columns in the order these have."""
    data = node.inputs[0]
    assert data is not None
    features = weight.shape[1]
    n = math.prod(b.shape(data)) // max(features, 1)
    of = b.layout.last(data) if b.layout.reads_last(node) else FIRST
    if of.c * of.s != features or flip:
        of = FIRST
    x = b.transpose(b.get(data), (1, 0)) if flip else b.get(data, of, (n, features))
    check_types(b, node, [x], ("float32",))
    return x, weight if of == FIRST else _stored_columns(weight, of)


def _weights(b: Builder, value: ir.Value | None, array: Array) -> Tensor:
    made = b.constant(array, name=(value.name if value is not None else None) or "")
    made.origin = made.name
    return made


def _stored_columns(weight: Array, of: Order) -> Array:
    """Columns of ``(out, c*s)`` in the order the input's features are stored: ``(s, c)``."""
    rows = weight.shape[0]
    return weight.reshape(rows, of.c, of.s).transpose(0, 2, 1).reshape(rows, -1)


def fully_connected(b: Builder, x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    """``x (N, I)``, ``w (O, I)``, ``bias (O,)`` to ``(N, O)``."""
    options = schema.FullyConnectedOptionsT()
    return b.emit("FULLY_CONNECTED", [x, w, bias], (x.shape[0], w.shape[0]), options)


def lower_matmul(b: Builder, node: ir.Node) -> None:
    """``MatMul`` with NumPy's rules for vectors and for stacks of matrices.

    Raises:
        UnsupportedError: for elements that are no floating-point numbers, or stacks of more than two axes
            that are broadcast both ways.
    """
    result = node.outputs[0]
    weight: Any = g.constant(node.inputs[1])
    if weight is not None and math.prod(weight.shape[:-2]) == 1:
        matrix = weight.reshape(-1, 1) if weight.ndim == 1 else weight.reshape(weight.shape[-2:])
        x, columns = _rows(b, node, _float(b, node, matrix).T)
        w = _weights(b, node.inputs[1], columns)
        made = fully_connected(b, x, w, b.zeros(columns.shape[0]))
        b.put(result, made)
        return
    left, right = b.shape(node.inputs[0]), b.shape(node.inputs[1])
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    left, right = _stacks(b, node, left, right)
    x, y = b.get(node.inputs[0], FIRST, left), b.get(node.inputs[1], FIRST, right)
    check_types(b, node, [x, y], ("float32",))
    shape = (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])
    b.put(result, _batch_matmul(b, x, y, shape, (False, False)))


def _stacks(b: Builder, node: ir.Node, left: Shape, right: Shape) -> tuple[Shape, Shape]:
    """Both operands with as few stack axes as their broadcasting allows."""
    stack, other = left[:-2], right[:-2]
    rows, columns = left[-2:], right[-2:]
    if math.prod(other) == 1:
        return (math.prod(stack) * rows[0], rows[1]), columns
    if math.prod(stack) == 1:
        return (1, *rows), (math.prod(other), *columns)
    rank = max(len(stack), len(other))
    stack, other = (1,) * (rank - len(stack)) + stack, (1,) * (rank - len(other)) + other
    if stack == other:
        return (math.prod(stack), *rows), (math.prod(other), *columns)
    if rank + 2 > _MOST_AXES:
        b.refuse(node, f"stacks of matrices {list(stack)} and {list(other)} are broadcast over {rank} axes")
    return (*stack, *rows), (*other, *columns)


def _batch_matmul(b: Builder, x: Tensor, y: Tensor, shape: Shape, flip: tuple[bool, bool]) -> Tensor:
    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = flip
    return b.emit("BATCH_MATMUL", [x, y], shape, options)


RULES: Rules = {"Gemm": Rule(lower_gemm, policy), "MatMul": Rule(lower_matmul, policy)}
