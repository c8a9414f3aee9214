"""Concatenations, splits, slices, paddings and tilings: memory is moved along one axis at a time.

A padding that copies (reflect, edge, wrap) and a slice with a negative step are lists of indices. Constant
padding with zero is XNNPACK's ``PAD`` for all axes at once; another constant is joined on as a block, since
XNNPACK has no ``PADV2``, unless that is large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.program import Array, Tensor
from tdedge_exporters.tflite.sides import cut_of
from tdedge_exporters.tflite.take import repeat, take

#: Padding of up to this many elements is made of constants of the file.
_MOST_PADDING = 1 << 16
#: Axes of a padding that one operator takes.
_MOST_AXES = 4
#: NumPy's names of ONNX's paddings that copy.
_COPYING = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def lower_concat(b: Builder, node: ir.Node) -> None:
    """``Concat`` of computed and constant tensors along any axis."""
    result = node.outputs[0]
    cut, rank = cut_of(b, node), len(b.shape(result))
    axis = cut.axes(rank).index(g.attr_int(node, "axis", 1) % rank)
    values = [value for value in node.inputs if math.prod(b.shape(value))]
    tensors = [cut.get(b, value) for value in values]
    positive = all(b.is_non_negative(value) or _is_non_negative(value) for value in values)
    cut.put(b, result, b.concat(tensors, axis), non_negative=positive)


def _is_non_negative(value: ir.Value | None) -> bool:
    array: Array | None = g.constant(value)
    return array is not None and array.dtype.kind in "biuf" and bool((array >= 0).all())


def lower_split(b: Builder, node: ir.Node) -> None:
    """``Split`` into given sizes or equal parts; each result is one slice.

    Raises:
        UnsupportedError: when the sizes are computed.
    """
    data = node.inputs[0]
    shape = b.shape(data)
    axis = g.attr_int(node, "axis", 0) % len(shape)
    sizes = integers(b, node, 1, "split")
    if sizes is None:
        step = -(-shape[axis] // len(node.outputs))
        sizes = [min(step, shape[axis] - begin) for begin in range(0, shape[axis], step)]
    cut = cut_of(b, node)
    stored = cut.axes(len(shape)).index(axis)
    tensor = cut.get(b, data)
    begin = 0
    for value, size in zip(node.outputs, sizes, strict=True):
        if value.uses() or value.is_graph_output():
            part = b.slice(tensor, stored, begin, begin + size) if size else _nothing(b, node)
            cut.put(b, value, part, non_negative=b.is_non_negative(data))
        begin += size


def lower_slice(b: Builder, node: ir.Node) -> None:
    """``Slice`` with any steps, along any axes.

    Raises:
        UnsupportedError: when where to slice is computed, or nothing is left.
    """
    data = node.inputs[0]
    shape = b.shape(data)
    starts, ends = integers(b, node, 1, "starts") or [], integers(b, node, 2, "ends") or []
    along = integers(b, node, 3, "axes") or list(range(len(starts)))
    steps = integers(b, node, 4, "steps") or [1] * len(starts)
    cut = cut_of(b, node)
    tensor = cut.get(b, data)
    for start, end, axis, step in zip(starts, ends, along, steps, strict=True):
        picked = range(shape[axis])[start:end:step]
        if not picked:
            _nothing(b, node)
        tensor = take(b, tensor, cut.axes(len(shape)).index(axis % len(shape)), picked)
    cut.put(b, node.outputs[0], tensor, non_negative=b.is_non_negative(data))


def _nothing(b: Builder, node: ir.Node) -> Tensor:
    b.refuse(node, "its result has no elements", "remove it from the network")


def lower_pad(b: Builder, node: ir.Node) -> None:
    """``Pad`` in all modes; negative pads crop first.

    Raises:
        UnsupportedError: when the pads or the value are computed, or the mode is unknown.
    """
    data = node.inputs[0]
    shape, cut = b.shape(data), cut_of(b, node)
    amounts = integers(b, node, 1, "pads") or []
    along = integers(b, node, 3, "axes") or list(range(len(shape)))
    pads = [(0, 0)] * len(shape)
    for axis, begin, end in zip(along, amounts, amounts[len(along) :], strict=False):
        pads[axis % len(shape)] = begin, end
    pads = [pads[axis] for axis in cut.axes(len(shape))]
    tensor = cut.get(b, data)
    for axis, (begin, end) in enumerate(pads):
        kept = range(max(-begin, 0), tensor.shape[axis] - max(-end, 0))
        if not kept:
            _nothing(b, node)
        tensor = take(b, tensor, axis, kept)
    grown = [(max(begin, 0), max(end, 0)) for begin, end in pads]
    mode = g.attr_string(node, "mode", "constant")
    if mode == "constant":
        value = _pad_value(b, node)
        positive = b.is_non_negative(data) and value >= 0
        tensor = pad_constant(b, tensor, grown, value)
    elif mode in _COPYING:
        positive = b.is_non_negative(data)
        tensor = _pad_copying(b, tensor, grown, mode)
    else:
        b.refuse(node, f"mode={mode!r} is not known")
    cut.put(b, node.outputs[0], tensor, non_negative=positive)


def _pad_value(b: Builder, node: ir.Node) -> float:
    array = b.array(node, 2) if len(node.inputs) > 2 else None
    return g.attr_float(node, "value", 0.0) if array is None else array.reshape(-1)[0].item()


def _pad_copying(b: Builder, tensor: Tensor, pads: Sequence[tuple[int, int]], mode: str) -> Tensor:
    for axis, pad in enumerate(pads):
        if any(pad):
            indices = np.pad(np.arange(tensor.shape[axis]), pad, mode=_COPYING[mode])  # type: ignore[call-overload]
            tensor = take(b, tensor, axis, indices.tolist())
    return tensor


def pad_constant(b: Builder, tensor: Tensor, pads: Sequence[tuple[int, int]], value: float) -> Tensor:
    """Padding of several axes with one value; axes that are not padded are joined with their neighbours."""
    target = tuple(size + sum(pad) for size, pad in zip(tensor.shape, pads, strict=True))
    if target == tensor.shape:
        return tensor
    added = math.prod(target) - math.prod(tensor.shape)
    if value != 0 and tensor.dtype == np.float32 and added <= _MOST_PADDING:
        return _pad_joining(b, tensor, pads, value)
    sizes: list[int] = []
    merged: list[tuple[int, int]] = []
    for size, pad in zip(tensor.shape, pads, strict=True):
        if merged and not any(pad) and not any(merged[-1]):
            sizes[-1] *= size
        else:
            sizes.append(size)
            merged.append(pad)
    if len(sizes) <= _MOST_AXES:
        return b.reshape(b.pad(b.reshape(tensor, sizes), merged, value), target)
    for axis, pad in enumerate(pads):
        tensor = b.pad_axis(tensor, axis, pad, value)
    return tensor


def _pad_joining(b: Builder, tensor: Tensor, pads: Sequence[tuple[int, int]], value: float) -> Tensor:
    for axis, (begin, end) in enumerate(pads):
        shapes = [(*tensor.shape[:axis], size, *tensor.shape[axis + 1 :]) for size in (begin, end)]
        before, after = ([b.constant(np.full(shape, value))] if shape[axis] else [] for shape in shapes)
        tensor = b.concat([*before, tensor, *after], axis)
    return tensor


def lower_tile(b: Builder, node: ir.Node) -> None:
    """``Tile``.

    Raises:
        UnsupportedError: when the repeats are computed, or nothing is left.
    """
    data, cut = node.inputs[0], cut_of(b, node)
    repeats = integers(b, node, 1, "repeats") or []
    tensor = cut.get(b, data)
    for stored, axis in enumerate(cut.axes(len(repeats))):
        if repeats[axis] < 1:
            _nothing(b, node)
        tensor = repeat(b, tensor, stored, repeats[axis])
    cut.put(b, node.outputs[0], tensor, non_negative=b.is_non_negative(data))


def integers(b: Builder, node: ir.Node, index: int, name: str) -> list[int] | None:
    """Integers that older operator sets have as an attribute and newer ones as a constant input.

    Raises:
        UnsupportedError: when the input is computed.
    """
    if name in node.attributes:
        return list(g.attr_ints(node, name, ()))
    array = b.array(node, index)
    return None if array is None else [int(each) for each in array.reshape(-1)]


RULES: Rules = {
    "Concat": Rule(lower_concat),
    "Pad": Rule(lower_pad),
    "Slice": Rule(lower_slice),
    "Split": Rule(lower_split),
    "Tile": Rule(lower_tile),
}
