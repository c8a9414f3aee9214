"""Sums of tensors in the blocks of channels that ONNX Runtime's convolutions work on.

ONNX Runtime executes 2-D convolutions of floats on channels in blocks of one SIMD vector (``nchwc``). It adds
tensors there too, at once with a convolution where it can, but has no difference and no product with a number
there: it reorders what they read, and what they give. Both are convolutions of one channel each, though::

    c x = depthwise(x; c)                x - y = x + depthwise(y; -1)

Exact but for rounding: a product that is added in the same step is not rounded before. The signs of values
are chosen first (:mod:`.signs`), so that few differences are left.

What gains is minimal filtering (:mod:`.planner.forms.minimal`): R3D-18's Tucker chain of a quarter of the
ranks has 2 reorders in the place of 590. See ``docs/planner.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.signs import choose_signs, number_of

#: Channels of a block, or of two.
BLOCK = 16


def suits_blocks(model: ir.Model) -> bool:
    """Whether :func:`in_blocks` changes anything."""
    return any(_is_difference(node) or _product(node) for node in model.graph)


def in_blocks(model: ir.Model) -> ir.Model:
    """A copy without differences and products with a number, of 4-D tensors of whole blocks of channels."""
    copy = model.clone()
    choose_signs(copy)
    write = _Writer(copy.graph)
    for node in list(copy.graph):
        if (product := _product(node)) is not None:
            g.replace([node], [write.product(node, *product)], node.outputs[0])
        elif _is_difference(node):
            first, second = node.inputs
            negated = write.product(node, second, -1.0)
            g.replace([node], [negated, write.sum(node, first, negated.outputs[0])], node.outputs[0])
    return copy


def _is_difference(node: ir.Node) -> bool:
    return node.op_type == "Sub" and all(_in_blocks(value, node.outputs[0]) for value in node.inputs)


def _product(node: ir.Node) -> tuple[ir.Value | None, float] | None:
    """The value in blocks and the number that a node multiplies; None for any other node."""
    if (number := number_of(node)) is None:
        return None
    index, factor = number
    value = node.inputs[1 - index]
    return (value, factor) if _in_blocks(value, node.outputs[0]) else None


def _in_blocks(value: ir.Value | None, result: ir.Value) -> bool:
    """Whether ``value``, of the shape of ``result``, can lie in blocks."""
    sizes = None if value is None or value.dtype != ir.DataType.FLOAT else g.dims(value)
    if sizes is None or len(sizes) != 4 or sizes != g.dims(result) or g.constant(value) is not None:
        return False
    return isinstance(sizes[1], int) and sizes[1] % BLOCK == 0


class _Writer:
    """Nodes in the place of others of the same shape; every weight once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph, self._names = graph, g.Names(graph)
        self._weights: dict[tuple[float, int], ir.Value] = {}

    def product(self, old: ir.Node, value: ir.Value | None, factor: float) -> ir.Node:
        """A number times ``value``."""
        like = old.outputs[0]
        sizes = g.dims(like)
        assert sizes is not None and isinstance(sizes[1], int)
        attributes = [ir.AttrInt64("group", sizes[1]), ir.AttrInt64s("kernel_shape", [1, 1])]
        return self._node("Conv", [value, self._weight(factor, sizes[1])], old, attributes)

    def sum(self, old: ir.Node, first: ir.Value | None, second: ir.Value) -> ir.Node:
        """Both added up."""
        return self._node("Add", [first, second], old)

    def _node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        old: ir.Node,
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Node:
        name = self._names.fresh(f"{g.node_name(old)}.{op_type.lower()}")
        like = old.outputs[0]
        return g.new_node(op_type, inputs, attributes, name=name, output=name, like=like, shape=g.dims(like))

    def _weight(self, factor: float, channels: int) -> ir.Value:
        if (factor, channels) not in self._weights:
            name = self._names.fresh(f"depthwise.{channels}")
            array = np.full((channels, 1, 1, 1), factor, np.float32)
            self._weights[factor, channels] = g.add_initializer(self._graph, name, array)
        return self._weights[factor, channels]
