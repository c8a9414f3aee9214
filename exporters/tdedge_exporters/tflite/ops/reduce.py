"""Reductions, in whatever order the value is stored.

Stored axes that are neighbours and treated alike are one axis. Each group of reduced axes is reduced on
the view ``(before, n, 1, after)`` over its two middle axes, the one form that every version of XNNPACK
takes; several groups are reduced one after the other, the last first (a mean of means over equal counts is
the mean). What is left of the groups ``n``, ``c`` and ``s`` of an order is the order of the result, so
nothing is ever transposed for a reduction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops.elementwise import check_types, non_negative
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import FIRST, Order, axes, bounds, order
from tdedge_exporters.tflite.program import Tensor

#: A reduction of a view along some of its axes, which stay with size 1.
Reduction = Callable[[Builder, Tensor, Sequence[int]], Tensor]


def along(b: Builder, code: str, x: Tensor, reduced: Sequence[int]) -> Tensor:
    """``MEAN``, ``SUM``, ``REDUCE_MAX``, ``REDUCE_MIN`` or ``REDUCE_PROD``; reduced axes stay with size 1."""
    shape = list(x.shape)
    for axis in sorted(reduced, reverse=True):
        before, n, after = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
        shape[axis] = 1
        if n > 1:
            options = schema.ReducerOptionsT()
            options.keepDims = True
            seen = b.reshape(x, (before, n, 1, after))
            x = b.emit(code, [seen, b.integers((1, 2))], (before, 1, 1, after), options)
    return b.reshape(x, shape)


def log_sum_exp(b: Builder, x: Tensor, reduced: Sequence[int]) -> Tensor:
    """``log(sum(exp(x)))``, shifted by the largest element so that nothing overflows."""
    largest = along(b, "REDUCE_MAX", x, reduced)
    terms = b.unary("EXP", b.binary("SUB", x, largest), schema.ExpOptionsT())
    return b.binary("ADD", largest, b.unary("LOG", along(b, "SUM", terms, reduced)))


def view(b: Builder, value: ir.Value | None, of: Order, reduced: Sequence[int]) -> tuple[Tensor, list[int]]:
    """A value stored in ``of`` with neighbouring axes made one, and which of those are reduced.

    Args:
        b: the program.
        value: what is reduced.
        of: an order that cuts no axis.
        reduced: logical axes.
    """
    shape = b.shape(value)
    sizes: list[int] = []
    flags: list[bool] = []
    for axis in axes(shape, of) or ():
        flag = axis in reduced
        if flags and flags[-1] == flag:
            sizes[-1] *= shape[axis]
        else:
            sizes.append(shape[axis])
            flags.append(flag)
    return b.get(value, of, sizes), [i for i, flag in enumerate(flags) if flag]


def read_order(b: Builder, node: ir.Node) -> Order:
    """The order input 0 is read in: the layout's choice where that cuts no axis."""
    value = node.inputs[0]
    assert value is not None
    of = b.layout.last(value) if b.layout.reads_last(node) else FIRST
    return of if bounds(b.shape(value), of) is not None else FIRST


def left_order(shape: Sequence[int], of: Order, reduced: Sequence[int]) -> Order:
    """The order of what is left when axes of a value stored in ``of`` are reduced to size 1."""
    begin, end = bounds(shape, of) or (0, 0)
    kept = [1 if axis in reduced else size for axis, size in enumerate(shape)]
    if of == FIRST:
        return FIRST
    return order(math.prod(kept[:begin]), math.prod(kept[begin:end]), math.prod(kept[end:]))


def reduced_axes(b: Builder, node: ir.Node) -> tuple[int, ...]:
    """Logical axes of a ``Reduce...`` node, from its attribute or its constant input 1.

    Raises:
        UnsupportedError: where they are computed.
    """
    rank = len(b.shape(node.inputs[0]))
    array = b.array(node, 1)
    listed = g.attr_ints(node, "axes", ()) if array is None else [int(axis) for axis in array.reshape(-1)]
    if not listed:
        return () if g.attr_int(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({axis % rank for axis in listed}))


def _squares(b: Builder, x: Tensor, reduced: Sequence[int]) -> Tensor:
    return along(b, "SUM", b.unary("SQUARE", x, schema.SquareOptionsT()), reduced)


_FLOAT: dict[str, Reduction] = {
    "ReduceL1": lambda b, x, axes: along(b, "SUM", b.unary("ABS", x, schema.AbsOptionsT()), axes),
    "ReduceL2": lambda b, x, axes: b.unary("SQRT", _squares(b, x, axes)),
    "ReduceLogSum": lambda b, x, axes: b.unary("LOG", along(b, "SUM", x, axes)),
    "ReduceLogSumExp": log_sum_exp,
    "ReduceMean": lambda b, x, axes: along(b, "MEAN", x, axes),
    "ReduceSumSquare": _squares,
}
_ANY_TYPE: dict[str, Reduction] = {
    "ReduceMax": lambda b, x, axes: along(b, "REDUCE_MAX", x, axes),
    "ReduceMin": lambda b, x, axes: along(b, "REDUCE_MIN", x, axes),
    "ReduceProd": lambda b, x, axes: along(b, "REDUCE_PROD", x, axes),
    "ReduceSum": lambda b, x, axes: along(b, "SUM", x, axes),
}
#: Reductions to which no axes mean no change.
_PLAIN = (*_ANY_TYPE, "ReduceMean")


def lower(b: Builder, node: ir.Node) -> None:
    """Every ``Reduce...`` operator.

    Raises:
        UnsupportedError: for computed axes, a value without elements or an element type without a kernel.
    """
    reduced = reduced_axes(b, node)
    if not reduced and node.op_type not in _PLAIN:
        b.refuse(node, "it has no axes and noop_with_empty_axes=1", "name its axes")
    _reduce(b, node, reduced, {**_FLOAT, **_ANY_TYPE}[node.op_type])


def lower_global_average(b: Builder, node: ir.Node) -> None:
    """``GlobalAveragePool`` in any number of axes."""
    _reduce(b, node, range(2, len(b.shape(node.inputs[0]))), _FLOAT["ReduceMean"])


def _reduce(b: Builder, node: ir.Node, reduced: Sequence[int], reduction: Reduction) -> None:
    value = node.inputs[0]
    shape, of = b.shape(value), read_order(b, node)
    if 0 in shape:
        b.refuse(node, f"its input of shape {list(shape)} has no elements")
    x, inside = view(b, value, of, reduced)
    check_types(b, node, [x], ("float32", "int32", "int64") if node.op_type in _ANY_TYPE else ("float32",))
    made = reduction(b, x, inside)
    always = node.op_type in ("ReduceL1", "ReduceL2", "ReduceSumSquare")
    keeps = always or ("Log" not in node.op_type and non_negative(b, value))
    b.put(node.outputs[0], made, left_order(shape, of, reduced), non_negative=keeps)


def lower_arg(b: Builder, node: ir.Node) -> None:
    """``ArgMax`` and ``ArgMin``: the first of equal elements, as 64-bit integers.

    Raises:
        UnsupportedError: for ``select_last_index=1`` or an element type without a kernel.
    """
    if g.attr_int(node, "select_last_index", 0):
        b.refuse(node, "select_last_index=1; only the first index can be selected")
    value = node.inputs[0]
    shape, of = b.shape(value), read_order(b, node)
    axis = g.attr_int(node, "axis", 0) % len(shape)
    stored = axes(shape, of) or ()
    place = stored.index(axis)
    before = math.prod(shape[a] for a in stored[:place])
    after = math.prod(shape[a] for a in stored[place + 1 :])
    x = b.get(value, of, (before, shape[axis], after))
    check_types(b, node, [x], ("float32", "int32"))
    largest = node.op_type == "ArgMax"
    options = schema.ArgMaxOptionsT() if largest else schema.ArgMinOptionsT()
    options.outputType = schema.TensorType.INT64
    code = "ARG_MAX" if largest else "ARG_MIN"
    made = b.emit(code, [x, b.integers((1,), ())], (before, after), options, dtype=np.dtype(np.int64))
    b.put(node.outputs[0], made, left_order(shape, of, (axis,)))


RULES: Rules = {
    **{operator: Rule(lower) for operator in (*_FLOAT, *_ANY_TYPE)},
    "ArgMax": Rule(lower_arg),
    "ArgMin": Rule(lower_arg),
    "GlobalAveragePool": Rule(lower_global_average, Policy.ANY),
}
