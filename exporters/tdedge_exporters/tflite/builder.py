"""From ONNX values to stored tensors and back: what a lowering of one operator works with.

``get`` gives a value in the memory order and shape an operator wants, converting once and remembering it;
``put`` says what an operator made. A lowering that asks for what it needs is right whatever the layout
assignment decided: the assignment only makes conversions rare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import onnx_ir as ir

from tdedge.errors import UnsupportedError
from tdedge_exporters import graph as g
from tdedge_exporters.tflite.layout import Layout
from tdedge_exporters.tflite.order import FIRST, Order, Shape, axes, bounds, natural, order, stored_shape
from tdedge_exporters.tflite.program import Array, Tensor
from tdedge_exporters.tflite.tensors import TensorOps

#: Element types a tensor of ours may have.
_TYPES = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool")


class Builder(TensorOps):
    """Lowers one graph; see the module."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self._stored: dict[ir.Value, dict[Order, list[Tensor]]] = {}
        self._non_negative: set[ir.Value] = set()
        #: The value a tensor was made for and the order it is stored in.
        self.holds: dict[Tensor, tuple[ir.Value, Order]] = {}

    # Facts about the graph

    def shape(self, value: ir.Value | None) -> Shape:
        """The static shape ONNX gives a value.

        Raises:
            UnsupportedError: when it is not static.
        """
        assert value is not None
        sizes = g.dims(value)
        if sizes is None or not all(isinstance(size, int) for size in sizes):
            raise UnsupportedError(
                f"tflite: tensor {value.name!r} has no static shape; fix the input shapes with --input-shape"
            )
        return tuple(int(size) for size in sizes if isinstance(size, int))

    def refuse(self, node: ir.Node, why: str, advice: str = "") -> NoReturn:
        """Raise the error of a node that cannot be lowered.

        Raises:
            UnsupportedError: always; names node, operator, reason and what to do.
        """
        what = advice or "change the layer, or leave tflite out of --to"
        raise UnsupportedError(f"tflite: node {g.node_name(node)!r} ({node.op_type}): {why}; {what}")

    def array(self, node: ir.Node, index: int) -> Array | None:
        """The constant array of an input, None where it is absent.

        Raises:
            UnsupportedError: when it is computed.
        """
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            return None
        array = g.constant(value)
        if array is None:
            self.refuse(node, f"input {value.name!r} is computed; it must be constant")
        return array

    def is_non_negative(self, value: ir.Value | None) -> bool:
        """True where no element can be negative."""
        return value in self._non_negative

    def order_of(self, node: ir.Node, value: ir.Value | None = None) -> Order:
        """The order the layout gives a node that works in either, for its first output unless told."""
        chosen = node.outputs[0] if value is None else value
        return self.layout.last(chosen) if self.layout.writes_last(node) else FIRST

    # Values

    def get(self, value: ir.Value | None, of: Order = FIRST, shape: Sequence[int] | None = None) -> Tensor:
        """A value stored in the order ``of``, as a tensor of ``shape`` (axis by axis where not given)."""
        assert value is not None
        wanted = stored_shape(self.shape(value), of) if shape is None else tuple(shape)
        held = self._held(value)
        if of not in held:
            held[of] = [self._converted(held, of, math.prod(self.shape(value)))]
        for tensor in held[of]:
            if tensor.shape == wanted:
                return tensor
        made = self.reshape(held[of][0], wanted)
        held[of].append(made)
        return made

    def get_last(self, value: ir.Value | None, shape: Sequence[int] | None = None) -> Tensor:
        """A value with axis 1 as its channel, stored channels-last: ``(N, *spatial, C)`` unless told."""
        return self.get(value, natural(self.shape(value)), shape or self.last_shape(value))

    def last_shape(self, value: ir.Value | None) -> Shape:
        """``(N, *spatial, C)``."""
        n, c, *spatial = self.shape(value)
        return (n, *spatial, c)

    def held_shape(self, value: ir.Value | None, of: Order) -> Shape:
        """The shape a value is already held in, for operators to which any shape is right."""
        assert value is not None
        held = self._held(value).get(of)
        return held[0].shape if held else stored_shape(self.shape(value), of)

    def put(self, value: ir.Value, tensor: Tensor, of: Order = FIRST, *, non_negative: bool = False) -> None:
        """Say that ``tensor`` holds ``value``, stored in the order ``of``."""
        assert math.prod(tensor.shape) == math.prod(self.shape(value)), (value, tensor.shape)
        self._stored.setdefault(value, {}).setdefault(of, []).append(tensor)
        self.holds.setdefault(tensor, (value, of))
        if non_negative:
            self._non_negative.add(value)

    def put_last(self, value: ir.Value, tensor: Tensor, *, non_negative: bool = False) -> None:
        """Say that ``tensor`` holds ``value`` with axis 1 as its channel, stored channels-last."""
        self.put(value, tensor, natural(self.shape(value)), non_negative=non_negative)

    def alias(self, value: ir.Value, source: ir.Value | None) -> None:
        """Say that ``value`` has the memory of ``source`` in every order."""
        assert source is not None
        self._stored[value] = {of: list(held) for of, held in self._held(source).items()}
        if source in self._non_negative:
            self._non_negative.add(value)

    def orders(self, value: ir.Value) -> list[Order]:
        """The orders a value is held in."""
        return list(self._held(value))

    def operands(self, node: ir.Node) -> tuple[list[Tensor], Order]:
        """The inputs of an elementwise node, ready for NumPy's broadcasting, and the result's order.

        Neighbouring axes along which every operand is full, or is broadcast, are one axis, so that few
        remain: old runtimes broadcast at most four.
        """
        values = [value for value in node.inputs if value is not None]
        shape, of = self.shape(node.outputs[0]), self.order_of(node)
        if all(self.shape(value) == shape for value in values):
            held = next((v for v in values if g.constant(v) is None), values[0])
            common = self.held_shape(held, of)
            return [self.get(value, of, common) for value in values], of
        of = of if axes(shape, of) is not None else FIRST
        begin, end = bounds(shape, of) or (0, 0)
        permutation = axes(shape, of) or ()
        extended = [(1,) * (len(shape) - len(self.shape(v))) + self.shape(v) for v in values]
        stored = [[sizes[axis] for axis in permutation] for sizes in extended]
        merged = _merged([shape[axis] for axis in permutation], stored)
        tensors = []
        for value, sizes, final in zip(values, extended, merged, strict=True):
            cut = order(math.prod(sizes[:begin]), math.prod(sizes[begin:end]), math.prod(sizes[end:]))
            tensors.append(self.get(value, FIRST if of == FIRST else cut, final))
        return tensors, of

    def _held(self, value: ir.Value) -> dict[Order, list[Tensor]]:
        if value not in self._stored:
            array = g.constant(value)
            if array is None:
                raise UnsupportedError(f"tflite: tensor {value.name!r} is used before it is made")
            self._stored[value] = {FIRST: [self._constant(value, array)]}
        return self._stored[value]

    def _constant(self, value: ir.Value, array: Array) -> Tensor:
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        if array.dtype.name not in _TYPES:
            raise UnsupportedError(f"tflite: constant {value.name!r} has the element type {array.dtype.name}")
        made = self.constant(array, array.dtype, value.name or "")
        made.origin = value.name or ""
        return made

    def _converted(self, held: dict[Order, list[Tensor]], of: Order, size: int) -> Tensor:
        if of != FIRST:
            assert of.n * of.c * of.s == size, (of, size)
            if FIRST not in held:
                held[FIRST] = [self._converted(held, FIRST, size)]
            return self.transpose(self.reshape(held[FIRST][0], (of.n, of.c, of.s)), (0, 2, 1))
        source, tensors = next(iter(held.items()))
        return self.transpose(self.reshape(tensors[0], (source.n, source.s, source.c)), (0, 2, 1))


def _merged(full: Sequence[int], operands: Sequence[Sequence[int]]) -> list[Shape]:
    """Operands' sizes with neighbouring axes made one where all operands treat them alike.

    Never of no axis at all: XNNPACK does not reshape to that.
    """
    groups: list[list[int]] = []
    patterns: list[tuple[bool, ...]] = []
    for axis, size in enumerate(full):
        if size == 1:
            continue
        pattern = tuple(sizes[axis] != 1 for sizes in operands)
        if patterns and patterns[-1] == pattern:
            groups[-1].append(axis)
        else:
            groups.append([axis])
            patterns.append(pattern)
    merged = [tuple(math.prod(sizes[axis] for axis in group) for group in groups) for sizes in operands]
    return merged if groups else [(1,)] * len(merged)
