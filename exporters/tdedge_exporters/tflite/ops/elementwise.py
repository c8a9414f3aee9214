"""Arithmetic, comparison and logic element by element, with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import Order
from tdedge_exporters.tflite.program import Tensor

_CODES = {
    "Add": "ADD",
    "Div": "DIV",
    "Max": "MAXIMUM",
    "Mean": "ADD",
    "Min": "MINIMUM",
    "Mul": "MUL",
    "Sub": "SUB",
    "Sum": "ADD",
}
#: Integer types of operators that lack kernels for some.
_INTEGERS: dict[str, tuple[str, ...]] = {"Div": ("int32",), "Mean": ()}
_COMPARISONS = {
    "Equal": ("EQUAL", schema.EqualOptionsT),
    "Greater": ("GREATER", schema.GreaterOptionsT),
    "GreaterOrEqual": ("GREATER_EQUAL", schema.GreaterEqualOptionsT),
    "Less": ("LESS", schema.LessOptionsT),
    "LessOrEqual": ("LESS_EQUAL", schema.LessEqualOptionsT),
}
_LOGIC = {
    "And": ("LOGICAL_AND", schema.LogicalAndOptionsT),
    "Or": ("LOGICAL_OR", schema.LogicalOrOptionsT),
    "Xor": ("NOT_EQUAL", schema.NotEqualOptionsT),
}
_BOOL = np.dtype(bool)
#: Powers up to here are products.
_HIGHEST_POWER = 16


def data(b: Builder, node: ir.Node) -> tuple[Tensor, Order]:
    """Input 0 of a floating-point node that works in either order, in the shape it has, and that order.

    Raises:
        UnsupportedError: where its elements are no floating-point numbers.
    """
    value, of = node.inputs[0], b.order_of(node)
    x = b.get(value, of, b.held_shape(value, of))
    check_types(b, node, [x], ("float32",))
    return x, of


def check_types(b: Builder, node: ir.Node, tensors: Sequence[Tensor], allowed: Sequence[str]) -> None:
    """Refuse a node with an operand of a type the kernels lack.

    Raises:
        UnsupportedError: names the type and those that are allowed.
    """
    for tensor in tensors:
        if tensor.dtype.name not in allowed:
            b.refuse(
                node,
                f"an operand has the element type {tensor.dtype.name}; it must be {' or '.join(allowed)}",
            )


def non_negative(b: Builder, value: ir.Value | None) -> bool:
    """True where a value, computed or constant, has no negative element."""
    if b.is_non_negative(value):
        return True
    array: Any = g.constant(value)
    return array is not None and array.dtype.kind in "fiu" and bool((array >= 0).all())


def lower(b: Builder, node: ir.Node) -> None:
    """``Add``, ``Sub``, ``Mul``, ``Div``, and ``Max``, ``Min``, ``Sum``, ``Mean`` of any number of operands.

    Raises:
        UnsupportedError: for an element type without a kernel.
    """
    values = [value for value in node.inputs if value is not None]
    if len(values) == 1:
        b.alias(node.outputs[0], values[0])
        return
    (first, *rest), of = b.operands(node)
    check_types(b, node, [first, *rest], ("float32", *_INTEGERS.get(node.op_type, ("int32", "int64"))))
    code = _CODES[node.op_type]
    for tensor in rest:
        inverse = _exact_reciprocal(b, tensor) if code == "DIV" else None
        first = b.binary(code, first, tensor) if inverse is None else b.binary("MUL", first, inverse)
    if node.op_type == "Mean":
        first = b.binary("DIV", first, b.constant(len(values)))
    b.put(node.outputs[0], first, of, non_negative=_keeps_sign(b, node.op_type, values))


def _keeps_sign(b: Builder, operator: str, values: Sequence[ir.Value]) -> bool:
    if operator == "Sub":
        return False
    if operator == "Mul" and len(values) == 2 and values[0] is values[1]:
        return True
    signs = [non_negative(b, value) for value in values]
    return any(signs) if operator == "Max" else all(signs)


def _exact_reciprocal(b: Builder, tensor: Tensor) -> Tensor | None:
    """``1/tensor`` where it is a constant of powers of two, whose reciprocals are exact."""
    if tensor.data is None or tensor.dtype != np.float32:
        return None
    fractions, exponents = np.frexp(tensor.data)
    if not (np.abs(fractions) == 0.5).all() or (np.abs(exponents) > 100).any():
        return None
    return b.constant(1 / tensor.data)


def lower_pow(b: Builder, node: ir.Node) -> None:
    """``Pow``: by products and roots where the exponent is one number and a multiple of a quarter.

    Raises:
        UnsupportedError: for a base that is no floating-point number.
    """
    exponent: Any = g.constant(node.inputs[1])
    base, result = node.inputs[0], node.outputs[0]
    if exponent is not None and exponent.size == 1 and b.shape(base) == b.shape(result):
        x, of = data(b, node)
        value = float(exponent.reshape(()))
        made = power(b, x, value)
        if made is not None:
            even = value % 2 == 0 or not value.is_integer()
            b.put(result, made, of, non_negative=even or b.is_non_negative(base))
            return
    (x, y), of = b.operands(node)
    check_types(b, node, [x], ("float32",))
    if y.data is not None:
        y = b.constant(y.data)
    check_types(b, node, [y], ("float32",))
    b.put(result, b.binary("POW", x, y), of)


def power(b: Builder, x: Tensor, exponent: float) -> Tensor | None:
    """``x ** exponent`` as a product of squares and square roots; None where it is not one of a few.

    Every factor is correctly rounded, so the product is as exact as a power function is.
    """
    size = abs(exponent)
    if exponent == 0 or size > _HIGHEST_POWER or not (4 * size).is_integer():
        return None
    if exponent == -0.5:
        return b.unary("RSQRT", x)
    factors: list[Tensor] = []
    square, whole = x, int(size)
    while whole:
        if whole & 1:
            factors.append(square)
        whole >>= 1
        if whole:
            square = b.binary("MUL", square, square)
    quarters = int(4 * size) % 4
    if quarters:
        root = b.unary("SQRT", x)
        factors += [root] if quarters & 2 else []
        factors += [b.unary("SQRT", root)] if quarters & 1 else []
    made = factors[0]
    for factor in factors[1:]:
        made = b.binary("MUL", made, factor)
    return made if exponent > 0 else b.binary("DIV", b.constant(1.0), made)


def lower_comparison(b: Builder, node: ir.Node) -> None:
    """``Equal``, ``Greater``, ``GreaterOrEqual``, ``Less``, ``LessOrEqual``.

    Raises:
        UnsupportedError: for an element type without a kernel.
    """
    (first, second), of = b.operands(node)
    check_types(b, node, [first, second], ("float32", "int32", "int64"))
    code, options = _COMPARISONS[node.op_type]
    _logic(b, node, code, [first, second], options(), of)


def lower_logic(b: Builder, node: ir.Node) -> None:
    """``And``, ``Or``, ``Xor``."""
    operands, of = b.operands(node)
    code, options = _LOGIC[node.op_type]
    _logic(b, node, code, operands, options(), of)


def lower_not(b: Builder, node: ir.Node) -> None:
    """``Not``."""
    (x,), of = b.operands(node)
    _logic(b, node, "LOGICAL_NOT", [x], schema.LogicalNotOptionsT(), of)


def _logic(b: Builder, node: ir.Node, code: str, operands: list[Tensor], options: Any, of: Order) -> None:
    shape = np.broadcast_shapes(*(tensor.shape for tensor in operands))
    b.put(node.outputs[0], b.emit(code, operands, shape, options, dtype=_BOOL), of)


def lower_where(b: Builder, node: ir.Node) -> None:
    """``Where``.

    Raises:
        UnsupportedError: for an element type without a kernel.
    """
    (condition, x, y), of = b.operands(node)
    check_types(b, node, [x, y], ("float32", "int32", "int64", "bool"))
    shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
    made = b.emit("SELECT_V2", [condition, x, y], shape, schema.SelectV2OptionsT(), dtype=x.dtype)
    keeps = x.dtype != _BOOL and all(non_negative(b, value) for value in node.inputs[1:])
    b.put(node.outputs[0], made, of, non_negative=keeps)


RULES: Rules = {
    **{operator: Rule(lower) for operator in _CODES},
    **{operator: Rule(lower_comparison) for operator in _COMPARISONS},
    **{operator: Rule(lower_logic) for operator in _LOGIC},
    "Not": Rule(lower_not),
    "Pow": Rule(lower_pow),
    "Where": Rule(lower_where),
}
