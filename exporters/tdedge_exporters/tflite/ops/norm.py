"""Normalisations: by constant statistics, by those of the value itself, and by neighbouring channels.

Local response normalisation divides by a power of ``s[c] = bias + alpha/size * sum(x[c']**2)`` over a window
of channels clipped at the borders. The built-in kernel is not one of XNNPACK; here the window is

* channels-last, a 1x1 ``CONV_2D`` of the squares with a banded matrix, ``alpha/size`` and ``bias`` in it;
* channels-first, an ``AVERAGE_POOL_2D`` over channels as rows, padded with zeros: it divides by ``size``.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops.conv import conv2d
from tdedge_exporters.tflite.ops.elementwise import check_types, power
from tdedge_exporters.tflite.ops.reduce import along, left_order, read_order, view
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import FIRST, Order, Shape, natural
from tdedge_exporters.tflite.program import Tensor
from tdedge_exporters.tflite.window import Axis

#: Smallest normal float32: a norm of zero divides zero by it.
_TINY = 2.0**-126
#: Added to the deviation by the function that defines MeanVarianceNormalization.
_MVN_EPSILON = 1e-9


def _order(b: Builder, node: ir.Node) -> Order:
    """Channels-last where the layout has it so, else as ONNX has it."""
    last = natural(b.shape(node.inputs[0]))
    return last if b.order_of(node) == last else FIRST


def _channels(b: Builder, node: ir.Node, of: Order) -> tuple[Tensor, Shape, int]:
    """Input 0 as ``(N, S, C)`` or ``(N, C, S)``, the shape of a vector of channels, the axis of ``S``."""
    n, c, *spatial = b.shape(node.inputs[0])
    s = math.prod(spatial)
    first = of == FIRST
    x = b.get(node.inputs[0], of, (n, c, s) if first else (n, s, c))
    check_types(b, node, [x], ("float32",))
    return x, (c, 1) if first else (c,), 2 if first else 1


def _deviation(b: Builder, x: Tensor, axes: tuple[int, ...] | list[int]) -> tuple[Tensor, Tensor]:
    """``x - mean`` and the variance, along axes that stay with size 1."""
    centred = b.binary("SUB", x, along(b, "MEAN", x, axes))
    return centred, along(b, "MEAN", b.unary("SQUARE", centred, schema.SquareOptionsT()), axes)


def _inverse(b: Builder, variance: Tensor, epsilon: float) -> Tensor:
    return b.unary("RSQRT", b.binary("ADD", variance, b.constant(epsilon)))


def lower_batch(b: Builder, node: ir.Node) -> None:
    """``BatchNormalization`` with constant statistics: ``a*x + c``.

    Raises:
        UnsupportedError: in training mode, with computed statistics or with ``spatial=0``.
    """
    training = g.attr_int(node, "training_mode", 0) or any(value.uses() for value in node.outputs[1:])
    if training:
        b.refuse(node, "training_mode=1", "export the network in evaluation mode")
    if not g.attr_int(node, "spatial", 1):
        b.refuse(node, "spatial=0; statistics are per channel")
    arrays = [b.array(node, index) for index in range(1, 5)]
    scale, shift, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    factor = scale / np.sqrt(variance + g.attr_float(node, "epsilon", 1e-5))
    of = _order(b, node)
    x, shape, _ = _channels(b, node, of)
    made = b.binary("MUL", x, b.constant(factor.reshape(shape)))
    b.put(node.outputs[0], b.binary("ADD", made, b.constant((shift - mean * factor).reshape(shape))), of)


def lower_instance(b: Builder, node: ir.Node) -> None:
    """``InstanceNormalization``."""
    of = _order(b, node)
    x, shape, space = _channels(b, node, of)
    centred, variance = _deviation(b, x, (space,))
    inverse = _inverse(b, variance, g.attr_float(node, "epsilon", 1e-5))
    factor = b.binary("MUL", inverse, b.get(node.inputs[1], FIRST, shape))
    made = b.binary("ADD", b.binary("MUL", centred, factor), b.get(node.inputs[2], FIRST, shape))
    b.put(node.outputs[0], made, of)


def lower_group(b: Builder, node: ir.Node) -> None:
    """``GroupNormalization``; scale and bias per channel, or per group as before opset 21."""
    of = _order(b, node)
    x, shape, _ = _channels(b, node, of)
    groups, channels = g.attr_int(node, "num_groups", 1), b.shape(node.inputs[0])[1]
    if of == FIRST:
        seen = b.reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
        centred, variance = _deviation(b, seen, (2,))
    else:
        seen = b.reshape(x, (x.shape[0], x.shape[1], groups, channels // groups))
        centred, variance = _deviation(b, seen, (1, 3))
    inverse = _inverse(b, variance, g.attr_float(node, "epsilon", 1e-5))
    made = b.reshape(b.binary("MUL", centred, inverse), x.shape)
    scale, shift = (_per_channel(b, node, index, channels, shape) for index in (1, 2))
    b.put(node.outputs[0], b.binary("ADD", b.binary("MUL", made, scale), shift), of)


def _per_channel(b: Builder, node: ir.Node, index: int, channels: int, shape: Shape) -> Tensor:
    if math.prod(b.shape(node.inputs[index])) == channels:
        return b.get(node.inputs[index], FIRST, shape)
    array = np.asarray(b.array(node, index))
    return b.constant(np.repeat(array, channels // array.size).reshape(shape))


def lower_layer(b: Builder, node: ir.Node) -> None:
    """``LayerNormalization`` and ``RMSNormalization`` over the last axes.

    Raises:
        UnsupportedError: where its mean or deviation is used, or its scale has another shape than what is
            normalised.
    """
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        b.refuse(node, "its second or third output is used")
    shape = b.shape(node.inputs[0])
    axis = g.attr_int(node, "axis", -1) % len(shape)
    inner = math.prod(shape[axis:])
    x = b.get(node.inputs[0], FIRST, (math.prod(shape[:axis]), inner))
    check_types(b, node, [x], ("float32",))
    if node.op_type == "LayerNormalization":
        x, variance = _deviation(b, x, (1,))
    else:
        variance = along(b, "MEAN", b.unary("SQUARE", x, schema.SquareOptionsT()), (1,))
    made = b.binary("MUL", x, _inverse(b, variance, g.attr_float(node, "epsilon", 1e-5)))
    for index, code in ((1, "MUL"), (2, "ADD")):
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is not None:
            made = b.binary(code, made, _inner(b, node, index, shape[axis:]))
    b.put(node.outputs[0], made)


def _inner(b: Builder, node: ir.Node, index: int, normalised: Shape) -> Tensor:
    """A scale or bias as a vector of what is normalised."""
    value, size = node.inputs[index], math.prod(normalised)
    if math.prod(b.shape(value)) == size:
        return b.get(value, FIRST, (size,))
    array = np.asarray(b.array(node, index))
    if array.ndim > len(normalised):
        b.refuse(node, f"input {index} has shape {list(array.shape)}; it must fit {list(normalised)}")
    return b.constant(np.broadcast_to(array, normalised).reshape(-1))


def lower_mean_variance(b: Builder, node: ir.Node) -> None:
    """``MeanVarianceNormalization``."""
    shape, of = b.shape(node.inputs[0]), read_order(b, node)
    axes = tuple(axis % len(shape) for axis in g.attr_ints(node, "axes", (0, 2, 3)))
    x, inside = view(b, node.inputs[0], of, axes)
    check_types(b, node, [x], ("float32",))
    centred, variance = _deviation(b, x, inside)
    spread = b.binary("ADD", b.unary("SQRT", variance), b.constant(_MVN_EPSILON))
    b.put(node.outputs[0], b.binary("DIV", centred, spread), left_order(shape, of, ()))


def lower_lp(b: Builder, node: ir.Node) -> None:
    """``LpNormalization`` with p = 1 or 2; zeros stay zeros.

    Raises:
        UnsupportedError: for another p.
    """
    shape, of, p = b.shape(node.inputs[0]), read_order(b, node), g.attr_int(node, "p", 2)
    if p not in (1, 2):
        b.refuse(node, f"p={p}; 1 and 2 are supported")
    x, inside = view(b, node.inputs[0], of, (g.attr_int(node, "axis", -1) % len(shape),))
    check_types(b, node, [x], ("float32",))
    if p == 1:
        norm = along(b, "SUM", b.unary("ABS", x, schema.AbsOptionsT()), inside)
    else:
        norm = b.unary("SQRT", along(b, "SUM", b.unary("SQUARE", x, schema.SquareOptionsT()), inside))
    made = b.binary("DIV", x, b.binary("MAXIMUM", norm, b.constant(_TINY)))
    b.put(node.outputs[0], made, left_order(shape, of, ()))


def lower_local_response(b: Builder, node: ir.Node) -> None:
    """``LRN``; see the module."""
    size, alpha = g.attr_int(node, "size", 1), g.attr_float(node, "alpha", 1e-4)
    beta, bias = g.attr_float(node, "beta", 0.75), g.attr_float(node, "bias", 1.0)
    before, after = (size - 1) // 2, size // 2
    of = _order(b, node)
    x, _, _ = _channels(b, node, of)
    squares = b.unary("SQUARE", x, schema.SquareOptionsT())
    if of == FIRST:
        made = b.binary("MUL", _mean_of_rows(b, squares, before, after), b.constant(alpha))
        sums = b.binary("ADD", made, b.constant(bias))
    else:
        n, s, c = x.shape
        offset = np.arange(c)[None, :] - np.arange(c)[:, None]
        band = ((offset >= -before) & (offset <= after)) * np.float64(alpha / size)
        kernel = b.constant(band.reshape(c, 1, 1, c))
        seen = b.reshape(squares, (n, s, 1, c))
        mixed = conv2d(b, seen, kernel, b.constant(np.full(c, bias)), Axis.single(s), Axis.single(), 1)
        sums = b.reshape(mixed, (n, s, c))
    b.put(node.outputs[0], _divided(b, x, sums, beta, positive=bias > 0 and alpha >= 0), of)


def _mean_of_rows(b: Builder, squares: Tensor, before: int, after: int) -> Tensor:
    """Sum over a window of axis 1 of ``(N, C, S)``, zeros beyond its ends, divided by the window's size."""
    n, c, s = squares.shape
    size = before + after + 1
    if size == 1:
        return squares
    padded = b.pad_axis(squares, 1, (before, after))
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    options.filterHeight, options.filterWidth, options.strideH, options.strideW = size, 1, 1, 1
    seen = b.reshape(padded, (n, c + size - 1, 1, s))
    return b.reshape(b.emit("AVERAGE_POOL_2D", [seen], (n, c, 1, s), options), (n, c, s))


def _divided(b: Builder, x: Tensor, sums: Tensor, beta: float, *, positive: bool) -> Tensor:
    """``x / sums**beta``."""
    if beta == 0:
        return x
    divisor = power(b, sums, beta)
    if divisor is None and positive:
        exponent = b.binary("MUL", b.unary("LOG", sums), b.constant(beta))
        divisor = b.unary("EXP", exponent, schema.ExpOptionsT())
    return b.binary("DIV", x, divisor or b.binary("POW", sums, b.constant(beta)))


RULES: Rules = {
    "BatchNormalization": Rule(lower_batch),
    "GroupNormalization": Rule(lower_group),
    "InstanceNormalization": Rule(lower_instance),
    "LRN": Rule(lower_local_response),
    "LayerNormalization": Rule(lower_layer, Policy.FIRST),
    "LpNormalization": Rule(lower_lp),
    "MeanVarianceNormalization": Rule(lower_mean_variance),
    "RMSNormalization": Rule(lower_layer, Policy.FIRST),
}
