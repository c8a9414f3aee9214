"""Activations that exporters write as arithmetic, made one node again before the layout is chosen.

A function ``f`` of ``u`` is recognised in a product ``k * x * f(u)`` with constant ``k`` in any order of
operands, where ``u`` is a polynomial of ``x`` with the coefficients of the definition:

    Gelu       k * x * (1 + erf(u)),     u = x / sqrt(2)                              = 2k * Gelu(x)
    Gelu tanh  k * x * (1 + tanh(u)),    u = sqrt(2/pi) * (x + 0.044715 x^3)          = 2k * Gelu(x)
    HardSwish  k * x * clip(u, 0, 6),    u = x + 3                                    = 6k * HardSwish(x)
               k * x * HardSigmoid(x),   alpha = 1/6, beta = 1/2                      =  k * HardSwish(x)
    Mish       k * x * tanh(Softplus(x))                                              =  k * Mish(x)

Exact up to rounding: constants must agree to 1e-6 of their size, what the file's float32 numbers are away
from the definition's. A factor other than 1, left where a constant went into the layer after it, stays as
one ``Mul``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tdedge_exporters import graph as g

#: Degree -> coefficient.
Polynomial = dict[int, float]

_TOLERANCE = 1e-6
_DEEPEST = 8
_TANH_SCALE = math.sqrt(2 / math.pi)
#: Inner operator -> the polynomial it must be given.
_INNER: dict[str, Polynomial] = {
    "Erf": {1: math.sqrt(0.5)},
    "Tanh": {1: _TANH_SCALE, 3: 0.044715 * _TANH_SCALE},
    "Clip": {0: 3.0, 1: 1.0},
    "HardSigmoid": {1: 1.0},
}


@dataclass(frozen=True)
class _Found:
    """``product = factor * activation(x)``."""

    activation: str
    x: ir.Value
    factor: float
    product: ir.Value


def prepare(graph: ir.Graph) -> None:
    """Replace every such product by its activation, in place."""
    names = g.Names(graph)
    for node in list(graph):
        if node.op_type in _INNER and node.domain == "" and node.graph is graph:
            found = _product(node)
            if found is not None:
                _replace(graph, names, node, found)
    _drop_unused(graph)


def _product(node: ir.Node) -> _Found | None:
    inner = node.inputs[0]
    if inner is None or not _has_definition(node):
        return None
    value: ir.Value | None = node.outputs[0]
    softplus = inner.producer()
    if node.op_type == "Tanh" and softplus is not None and softplus.op_type == "Softplus":
        x = softplus.inputs[0]
        found = None if x is None else _times(node.outputs[0], x)
        return None if x is None or found is None else _Found("Mish", x, *found)
    if node.op_type in ("Erf", "Tanh"):
        value = _plus_one(node.outputs[0])
    if value is None:
        return None
    whole = {"Clip": 6.0, "HardSigmoid": 1.0}.get(node.op_type, 2.0)
    for x in _ancestors(inner, _DEEPEST):
        if _same(polynomial(inner, x), _INNER[node.op_type]):
            found = _times(value, x)
            if found is not None:
                activation = "Gelu" if whole == 2 else "HardSwish"
                return _Found(activation, x, found[0] * whole, found[1])
    return None


def _has_definition(node: ir.Node) -> bool:
    """True where the attributes and further inputs of the inner operator are those of the definition."""
    if node.op_type == "HardSigmoid":
        alpha, beta = g.attr_float(node, "alpha", 0.2), g.attr_float(node, "beta", 0.5)
        return _close(alpha, 1 / 6) and beta == 0.5
    if node.op_type == "Clip":
        bounds = [_number(value) for value in node.inputs[1:]]
        if not bounds and "min" in node.attributes and "max" in node.attributes:
            bounds = [g.attr_float(node, "min", 0), g.attr_float(node, "max", 0)]
        return bounds == [0.0, 6.0]
    return True


def _plus_one(value: ir.Value) -> ir.Value | None:
    """``1 + value`` where that is all that is made of it."""
    user = g.only_user(value)
    if user is None or user.op_type != "Add":
        return None
    first, second = user.inputs
    return user.outputs[0] if _number(second if first is value else first) == 1 else None


def _times(value: ir.Value, x: ir.Value) -> tuple[float, ir.Value] | None:
    """The constant and the result of the product of ``value``, ``x`` and numbers."""
    factor, power = 1.0, 0
    while (user := g.only_user(value)) is not None and user.op_type in ("Mul", "Div"):
        first, second = user.inputs
        other = second if first is value else first
        term = None if other is None else polynomial(other, x)
        if (
            term is None
            or len(term) != 1
            or (user.op_type == "Div" and (0 not in term or first is not value))
        ):
            break
        ((degree, coefficient),) = term.items()
        if degree > 1 or power + degree > 1 or coefficient == 0:
            break
        power += degree
        factor *= 1 / coefficient if user.op_type == "Div" else coefficient
        value = user.outputs[0]
    same = x.shape == value.shape and x.type == value.type
    return (factor, value) if power == 1 and same else None


def polynomial(value: ir.Value, x: ir.Value, depth: int = _DEEPEST) -> Polynomial | None:
    """``value`` as a polynomial of ``x`` with scalar coefficients; None where it is none."""
    if value is x:
        return {1: 1.0}
    number = _number(value)
    if number is not None:
        return {0: number}
    node = value.producer()
    if node is None or depth == 0 or node.op_type not in ("Add", "Sub", "Mul", "Div", "Pow"):
        return None
    terms = [None if v is None else polynomial(v, x, depth - 1) for v in node.inputs]
    if len(terms) != 2 or terms[0] is None or terms[1] is None:
        return None
    return _combined(node.op_type, terms[0], terms[1])


def _combined(operator: str, first: Polynomial, second: Polynomial) -> Polynomial | None:
    if operator in ("Add", "Sub"):
        sign = 1.0 if operator == "Add" else -1.0
        degrees = {*first, *second}
        return {degree: first.get(degree, 0.0) + sign * second.get(degree, 0.0) for degree in degrees}
    if operator == "Mul":
        product: Polynomial = {}
        for m, a in first.items():
            for n, b in second.items():
                product[m + n] = product.get(m + n, 0.0) + a * b
        return product
    if set(second) != {0}:
        return None
    number = second[0]
    if operator == "Div":
        return {degree: a / number for degree, a in first.items()} if number else None
    if len(first) != 1 or number not in (1, 2, 3):
        return None
    ((degree, a),) = first.items()
    return {degree * int(number): a**number}


def _ancestors(value: ir.Value, depth: int) -> Iterator[ir.Value]:
    """Computed values an expression is made of, itself first."""
    if g.constant(value) is None:
        yield value
        node = value.producer()
        if node is not None and depth and node.op_type in ("Add", "Sub", "Mul", "Div", "Pow"):
            for operand in node.inputs:
                if operand is not None:
                    yield from _ancestors(operand, depth - 1)


def _number(value: ir.Value | None) -> float | None:
    """The one number a constant holds."""
    array = g.constant(value)
    return float(array.reshape(()).item()) if array is not None and array.size == 1 else None


def _close(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=_TOLERANCE)


def _same(found: Polynomial | None, wanted: Polynomial) -> bool:
    return (
        found is not None
        and found.keys() == wanted.keys()
        and all(_close(found[d], wanted[d]) for d in wanted)
    )


def _replace(graph: ir.Graph, names: g.Names, node: ir.Node, found: _Found) -> None:
    tanh = found.activation == "Gelu" and node.op_type == "Tanh"
    attributes = [ir.AttrString("approximate", "tanh")] if tanh else []
    last = found.product.producer()
    assert last is not None
    shape = g.dims(found.product)

    def new(operator: str, inputs: list[ir.Value], attributes: list[ir.Attr]) -> ir.Node:
        name = names.fresh(f"{found.product.name}_{operator.lower()}")
        return g.new_node(operator, inputs, attributes, name=name, output=name, like=found.x, shape=shape)

    nodes = [new(found.activation, [found.x], attributes)]
    if not _close(found.factor, 1.0):
        dtype = found.x.dtype.numpy() if found.x.dtype is not None else "float32"
        scale = g.add_initializer(graph, names.fresh("scale"), np.array(found.factor, dtype))
        nodes.append(new("Mul", [nodes[0].outputs[0], scale], []))
    g.replace([last], nodes, found.product)


def _drop_unused(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            inputs = list(node.inputs)
            graph.remove(node, safe=True)
            g.drop_unused(graph, [value for value in inputs if value is not None])
