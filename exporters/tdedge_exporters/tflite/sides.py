"""Axes of a tensor in the order a node that works either way stores them.

A node whose inputs and outputs differ in shape (a concatenation, a slice, a padding) treats all of them
alike: their axes are cut at the same two places into ``(n, c, s)`` and stored as ``(n, s, c)``. Where one of
them has a group of size 1 its memory is the same in both orders, which :func:`order` knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.order import FIRST, Order, Shape, bounds, order
from tdedge_exporters.tflite.program import Tensor


@dataclass(frozen=True)
class Cut:
    """Axes ``begin`` to ``end`` are stored last; both 0 where every axis stays."""

    begin: int = 0
    end: int = 0

    def axes(self, rank: int) -> Shape:
        """Logical axes in stored order."""
        every = tuple(range(rank))
        return every[: self.begin] + every[self.end :] + every[self.begin : self.end]

    def order(self, shape: Sequence[int]) -> Order:
        """The memory order of a tensor of ``shape``."""
        if self.begin == self.end:
            return FIRST
        groups = shape[: self.begin], shape[self.begin : self.end], shape[self.end :]
        return order(*(math.prod(group) for group in groups))

    def get(self, b: Builder, value: ir.Value | None, shape: Sequence[int] | None = None) -> Tensor:
        """A value with its axes in stored order; ``shape`` where it is seen in another one."""
        logical = b.shape(value) if shape is None else shape
        return b.get(value, self.order(logical), [logical[axis] for axis in self.axes(len(logical))])

    def put(self, b: Builder, value: ir.Value, tensor: Tensor, *, non_negative: bool = False) -> None:
        """Say that ``tensor``, with its axes in stored order, holds ``value``."""
        b.put(value, tensor, self.order(b.shape(value)), non_negative=non_negative)


def cut_of(b: Builder, node: ir.Node) -> Cut:
    """Where the layout cuts the axes of a node that works either way."""
    if b.layout.writes_last(node):
        rank = len(b.shape(node.outputs[0]))
        for value in (*node.outputs, *node.inputs):
            if value is None or len(b.shape(value)) != rank:
                continue
            of = b.layout.last(value)
            found = bounds(b.shape(value), of)
            if of != FIRST and found is not None:
                return Cut(*found)
    return Cut()
