"""Activations and other functions of one tensor.

Everything XNNPACK lacks is written with operators that it has, by formulas that neither overflow nor
cancel: ``softplus(x) = max(x, 0) + log(1 + exp(-|x|))``, exponentials of negative numbers by ``ELU``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.ops.elementwise import check_types, data, non_negative
from tdedge_exporters.tflite.ops.reduce import log_sum_exp
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import FIRST, axes, order
from tdedge_exporters.tflite.program import Tensor

#: Twice a factor of this size takes every number but 0, however small, beyond 1; exactly, as a power of two.
_BEYOND_ONE = 2.0**100
_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
#: Operators of one operand with a kernel of their own, and whether the result is never negative.
_UNARY: dict[str, tuple[str, Any, bool]] = {
    "Abs": ("ABS", schema.AbsOptionsT, True),
    "Ceil": ("CEIL", None, False),
    "Cos": ("COS", schema.CosOptionsT, False),
    "Exp": ("EXP", schema.ExpOptionsT, True),
    "Floor": ("FLOOR", None, False),
    "HardSwish": ("HARD_SWISH", schema.HardSwishOptionsT, False),
    "Log": ("LOG", None, False),
    "Neg": ("NEG", schema.NegOptionsT, False),
    "Relu": ("RELU", None, True),
    "Round": ("ROUND", None, False),
    "Sigmoid": ("LOGISTIC", None, True),
    "Sin": ("SIN", None, False),
    "Sqrt": ("SQRT", None, True),
    "Tanh": ("TANH", None, False),
}
#: (least, most) -> the activation that other operators can take in.
_CLAMPS: dict[tuple[float | None, float | None], str] = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
_INTEGER_TYPES = {"Abs": ("int32",), "Neg": ("int32", "int64")}


def lower_unary(b: Builder, node: ir.Node) -> None:
    """An operator with a kernel of its own."""
    code, options, positive = _UNARY[node.op_type]
    (x,), of = b.operands(node)
    check_types(b, node, [x], ("float32", *_INTEGER_TYPES.get(node.op_type, ())))
    made = b.unary(code, x, options() if options else None)
    keeps = node.op_type in ("Ceil", "Floor", "Round", "Tanh", "HardSwish")
    b.put(
        node.outputs[0],
        made,
        of,
        non_negative=positive or (keeps and b.is_non_negative(node.inputs[0])),
    )


def lower_clip(b: Builder, node: ir.Node) -> None:
    """``Clip`` with bounds that are attributes, constants, computed or absent."""
    value = node.inputs[0]
    of = b.order_of(node)
    x = b.get(value, of, b.held_shape(value, of))
    check_types(b, node, [x], ("float32", "int32", "int64"))
    low, high = (_bound(b, node, index, x) for index in (1, 2))
    least, most = (
        None if bound is None or bound.data is None else float(bound.data) for bound in (low, high)
    )
    code = _CLAMPS.get((least, most)) if x.dtype == np.float32 else None
    if code is not None:
        made = b.unary(code, x)
    else:
        made = x
        if low is not None:
            rectifies = least == 0 and x.dtype == np.float32
            made = b.unary("RELU", x) if rectifies else b.binary("MAXIMUM", x, low)
        if high is not None:
            made = b.binary("MINIMUM", made, high)
    positive = b.is_non_negative(value) if least is None else least >= 0
    capped = high is not None and (most is None or most < 0)
    b.put(node.outputs[0], made, of, non_negative=positive and not capped)


def _bound(b: Builder, node: ir.Node, index: int, x: Tensor) -> Tensor | None:
    """A bound of ``Clip`` as a scalar; None where it is absent or bounds nothing."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is not None:
        array: Any = g.constant(value)
        if array is None:
            return b.get(value, FIRST, (1,))
        number = array.reshape(()).astype(x.dtype)
    else:
        attribute = node.attributes.get(("min", "max")[index - 1])
        if attribute is None:
            return None
        number = np.array(attribute.as_float(), x.dtype)
    limits: Any = np.finfo(x.dtype) if x.dtype.kind == "f" else np.iinfo(x.dtype)
    nothing = number <= limits.min if index == 1 else number >= limits.max
    return None if nothing else b.constant(number, x.dtype)


def lower_leaky(b: Builder, node: ir.Node) -> None:
    """``LeakyRelu``."""
    x, of = data(b, node)
    made = _leaky(b, x, g.attr_float(node, "alpha", 0.01))
    b.put(node.outputs[0], made, of, non_negative=b.is_non_negative(node.inputs[0]))


def _leaky(b: Builder, x: Tensor, slope: float) -> Tensor:
    options = schema.LeakyReluOptionsT()
    options.alpha = slope
    return b.unary("LEAKY_RELU", x, options)


def lower_prelu(b: Builder, node: ir.Node) -> None:
    """``PRelu``: ``PRELU`` where the slope is a constant along the last stored axis, else by its formula."""
    (x, slope), of = b.operands(node)
    check_types(b, node, [x, slope], ("float32",))
    if slope.data is not None and slope.data.size == 1:
        made = _leaky(b, x, float(slope.data.reshape(())))
    elif slope.data is not None and slope.data.size == slope.shape[-1]:
        seen = b.reshape(x, (1, 1, math.prod(x.shape[:-1]), x.shape[-1]))
        made = b.emit("PRELU", [seen, b.reshape(slope, (1, 1, slope.shape[-1]))], seen.shape)
    else:
        below = b.binary("MINIMUM", x, b.constant(0.0))
        made = b.binary("ADD", b.unary("RELU", x), b.binary("MUL", below, slope))
    b.put(node.outputs[0], made, of, non_negative=b.is_non_negative(node.inputs[0]))


def lower_gelu(b: Builder, node: ir.Node) -> None:
    """``Gelu`` in both its forms; the kernels are within 1e-6 of the exact function.

    Raises:
        UnsupportedError: for another approximation.
    """
    form = g.attr_string(node, "approximate", "none")
    if form not in ("none", "tanh"):
        b.refuse(node, f"approximate={form!r}; none and tanh are supported")
    x, of = data(b, node)
    options = schema.GeluOptionsT()
    options.approximate = form == "tanh"
    b.put(node.outputs[0], b.unary("GELU", x, options), of)


def lower_softmax(b: Builder, node: ir.Node) -> None:
    """``Softmax`` and ``LogSoftmax`` along any axis; before opset 13 along all axes from it on."""
    value, result = node.inputs[0], node.outputs[0]
    shape, of = b.shape(value), b.order_of(node)
    graph = node.graph
    opset = graph.opset_imports.get("", 13) if isinstance(graph, ir.Graph) else 13
    axis = g.attr_int(node, "axis", -1 if opset >= 13 else 1) % max(len(shape), 1)
    stored = axes(shape, of)
    if opset < 13 or stored is None or not shape:
        of, stored = FIRST, tuple(range(len(shape)))
    place = stored.index(axis) if shape else 0
    sizes = [shape[a] for a in stored]
    before, after = math.prod(sizes[:place]), math.prod(sizes[place + 1 :])
    n = sizes[place] if sizes else 1
    if opset < 13:
        n, after = n * after, 1
    x = b.get(value, of, (before, n, after))
    check_types(b, node, [x], ("float32",))
    if node.op_type == "LogSoftmax":
        b.put(result, b.binary("SUB", x, log_sum_exp(b, x, (1,))), of)
        return
    if of == FIRST and after > 1:
        of = order(before, n, after)
        x = b.get(value, of, (before, after, n))
        b.put(result, _softmax(b, x), of, non_negative=True)
        return
    made = b.transpose(_softmax(b, b.transpose(x, (0, 2, 1))), (0, 2, 1))
    b.put(result, made, of, non_negative=True)


def _softmax(b: Builder, x: Tensor) -> Tensor:
    """Along the last axis."""
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    seen = b.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    return b.reshape(b.unary("SOFTMAX", seen, options), x.shape)


def _elu(b: Builder, x: Tensor, alpha: float, inner: float = 1.0, gamma: float = 1.0) -> Tensor:
    """``gamma * (max(x, 0) + alpha * (exp(min(x, 0) / inner) - 1))``."""
    if alpha == inner == gamma == 1:
        return b.unary("ELU", x)
    below = b.binary("MINIMUM", x, b.constant(0.0))
    if inner != 1:
        below = b.binary("DIV", below, b.constant(inner))
    below = b.binary("MUL", b.unary("ELU", below), b.constant(alpha * gamma))
    above = b.unary("RELU", x)
    return b.binary("ADD", above if gamma == 1 else b.binary("MUL", above, b.constant(gamma)), below)


def _celu(b: Builder, node: ir.Node, x: Tensor) -> Tensor:
    alpha = g.attr_float(node, "alpha", 1.0)
    if alpha <= 0:
        b.refuse(node, f"alpha={alpha:g}; it must be positive")
    return _elu(b, x, alpha, alpha)


def _hard_sigmoid(b: Builder, node: ir.Node, x: Tensor) -> Tensor:
    alpha, beta = g.attr_float(node, "alpha", 0.2), g.attr_float(node, "beta", 0.5)
    line = b.binary("ADD", b.binary("MUL", x, b.constant(alpha)), b.constant(beta))
    return b.binary("MINIMUM", b.unary("RELU", line), b.constant(1.0))


def _softplus(b: Builder, x: Tensor) -> Tensor:
    magnitude = b.unary("ABS", x, schema.AbsOptionsT())
    decay = b.unary("EXP", b.unary("NEG", magnitude, schema.NegOptionsT()), schema.ExpOptionsT())
    return b.binary("ADD", b.unary("RELU", x), b.unary("LOG", b.binary("ADD", decay, b.constant(1.0))))


def _mish(b: Builder, x: Tensor) -> Tensor:
    """``x * tanh(log(1 + e))`` with ``e = exp(x)``: ``x * n / (n + 2)``, ``n = e * (e + 2)``.

    From ``x = 20`` on the quotient is 1 in float32.
    """
    e = b.unary("EXP", b.binary("MINIMUM", x, b.constant(20.0)), schema.ExpOptionsT())
    two = b.constant(2.0)
    n = b.binary("MUL", e, b.binary("ADD", e, two))
    return b.binary("MUL", x, b.binary("DIV", n, b.binary("ADD", n, two)))


def _softsign(b: Builder, x: Tensor) -> Tensor:
    return b.binary("DIV", x, b.binary("ADD", b.unary("ABS", x, schema.AbsOptionsT()), b.constant(1.0)))


def _swish(b: Builder, node: ir.Node, x: Tensor) -> Tensor:
    alpha = g.attr_float(node, "alpha", 1.0)
    inner = x if alpha == 1 else b.binary("MUL", x, b.constant(alpha))
    return b.binary("MUL", x, b.unary("LOGISTIC", inner))


def _amplified(b: Builder, x: Tensor) -> Tensor:
    """``x`` times so much that only 0 stays within (-1, 1)."""
    factor = b.constant(_BEYOND_ONE)
    return b.binary("MUL", b.binary("MUL", x, factor), factor)


def _thresholded(b: Builder, node: ir.Node, x: Tensor) -> Tensor:
    alpha = g.attr_float(node, "alpha", 1.0)
    if alpha == 0:
        return b.unary("RELU", x)
    beyond = _amplified(b, b.binary("SUB", x, b.constant(alpha)))
    return b.binary("MUL", x, b.binary("MINIMUM", b.unary("RELU", beyond), b.constant(1.0)))


#: Functions made of several operators.
_FORMULAS: dict[str, Callable[[Builder, ir.Node, Tensor], Tensor]] = {
    "Celu": _celu,
    "Elu": lambda b, node, x: _elu(b, x, g.attr_float(node, "alpha", 1.0)),
    "HardSigmoid": _hard_sigmoid,
    "Mish": lambda b, node, x: _mish(b, x),
    "Reciprocal": lambda b, node, x: b.binary("DIV", b.constant(1.0), x),
    "Selu": lambda b, node, x: _elu(
        b, x, g.attr_float(node, "alpha", _SELU_ALPHA), gamma=g.attr_float(node, "gamma", _SELU_GAMMA)
    ),
    "Sign": lambda b, node, x: b.unary("RELU_N1_TO_1", _amplified(b, x)),
    "Softplus": lambda b, node, x: _softplus(b, x),
    "Softsign": lambda b, node, x: _softsign(b, x),
    "Swish": _swish,
    "ThresholdedRelu": _thresholded,
}
_POSITIVE = ("HardSigmoid", "Softplus")
_KEEP_SIGN = ("Mish", "Reciprocal", "Sign", "Softsign", "ThresholdedRelu")


def lower_formula(b: Builder, node: ir.Node) -> None:
    """A function made of several operators.

    Raises:
        UnsupportedError: for parameters without meaning.
    """
    x, of = data(b, node)
    made = _FORMULAS[node.op_type](b, node, x)
    keeps = node.op_type in _KEEP_SIGN and non_negative(b, node.inputs[0])
    b.put(node.outputs[0], made, of, non_negative=keeps or node.op_type in _POSITIVE)


RULES: Rules = {
    **{operator: Rule(lower_unary) for operator in _UNARY},
    **{operator: Rule(lower_formula) for operator in _FORMULAS},
    "Clip": Rule(lower_clip),
    "Gelu": Rule(lower_gelu),
    "LeakyRelu": Rule(lower_leaky),
    "LogSoftmax": Rule(lower_softmax),
    "PRelu": Rule(lower_prelu),
    "Softmax": Rule(lower_softmax),
}
