"""Resizes, axis by axis: every mode of ONNX is separable.

* Linear: ``RESIZE_BILINEAR`` where one of its three coordinate rules is the network's, on height and width
  at once or on one axis of the view ``(before, size, 1, after)``; exact because interpolation that clamps
  to the ends depends on the clamped coordinate alone.
* Nearest: repetitions and strides are slices and concatenations, taken on groups of ``size/g`` elements
  where the pattern repeats ``g`` times. XNNPACK has no ``RESIZE_NEAREST_NEIGHBOR``.
* All else: a product with the constant interpolation matrix of the axis.

Axes that shrink come first and those that grow most come last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.interpolation import Filter, Resized, coordinates, is_outside, matrix, nearest
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops.pool import picked
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import natural
from tdedge_exporters.tflite.program import Array, Tensor

#: (align_corners, half_pixel_centers) of ``RESIZE_BILINEAR``.
_Flags = tuple[bool, bool]
_FLAGS: tuple[_Flags, ...] = ((False, True), (True, False), (False, False))
#: More slices than this and a nearest resize is a matrix product.
_MOST_SLICES = 128
#: Elements of an interpolation matrix.
_MOST_WEIGHTS = 1 << 24


def lower(b: Builder, node: ir.Node) -> None:
    """``Resize`` and ``Upsample``, in every mode, along any axes.

    Raises:
        UnsupportedError: where scales, sizes or the region are computed, for elements that are not floating
            point with a mode that calculates, or where an interpolation matrix would be huge.
    """
    data, result = node.inputs[0], node.outputs[0]
    assert data is not None
    how, rank = _filter(node), len(b.shape(data))
    todo = {at: axis for at, axis in _axes(b, node).items() if not axis.is_still}
    channel = rank - 1
    if rank >= 3:
        todo = {(0, channel, *range(1, channel))[at]: axis for at, axis in todo.items()}
    x = b.get_last(data) if rank >= 3 else b.get(data)
    pair = (rank - 3, rank - 2)
    if rank > 3 and pair[0] in todo and pair[1] in todo and _flags(how, todo[pair[0]], todo[pair[1]]):
        stages: list[tuple[int, ...]] = [pair, *((at,) for at in todo if at not in pair)]
    else:
        stages = [(at,) for at in todo]
    for stage in sorted(stages, key=lambda s: (math.prod(todo[at].out / todo[at].size for at in s), -s[0])):
        x = _resized(b, node, x, {at: todo[at] for at in stage}, how)
    keeps_sign = how.mode != "cubic" and how.extrapolation_value >= 0
    b.put(result, x, natural(b.shape(result)), non_negative=keeps_sign and b.is_non_negative(data))


def _filter(node: ir.Node) -> Filter:
    """Before ``Resize`` version 11 there is one rule of coordinates and of nearness."""
    mode = g.attr_string(node, "mode", "nearest")
    if node.op_type == "Upsample" or len(node.inputs) == 2:
        return Filter("linear" if mode == "bilinear" else mode, "asymmetric", "floor")
    return Filter(
        mode,
        g.attr_string(node, "coordinate_transformation_mode", "half_pixel"),
        g.attr_string(node, "nearest_mode", "round_prefer_floor"),
        g.attr_float(node, "cubic_coeff_a", -0.75),
        bool(g.attr_int(node, "exclude_outside", 0)),
        bool(g.attr_int(node, "antialias", 0)),
        g.attr_float(node, "extrapolation_value", 0.0),
    )


def _axes(b: Builder, node: ir.Node) -> dict[int, Resized]:
    """Logical axis -> how it is resized."""
    shape, out = b.shape(node.inputs[0]), b.shape(node.outputs[0])
    rank = len(shape)
    named = [axis % rank for axis in g.attr_ints(node, "axes", range(rank))]
    sizes = _numbers(b, node, 3)
    if "scales" in node.attributes:
        scales: Sequence[float] = node.attributes["scales"].as_floats()
    else:
        scales = _numbers(b, node, 1 if len(node.inputs) == 2 else 2)
    if len(sizes):
        scales = [size / shape[axis] for size, axis in zip(sizes, named, strict=True)]
        policy = g.attr_string(node, "keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            scales = [min(scales) if policy == "not_larger" else max(scales)] * len(scales)
    regions = [(0.0, 1.0)] * len(named)
    if g.attr_string(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        roi = [float(share) for share in _numbers(b, node, 1)]
        regions = list(zip(roi[: len(named)], roi[len(named) :], strict=True))
    return {
        axis: Resized(shape[axis], out[axis], float(scale), region)
        for axis, scale, region in zip(named, scales, regions, strict=True)
    }


def _numbers(b: Builder, node: ir.Node, index: int) -> Sequence[float]:
    array = b.array(node, index)
    return [] if array is None else [float(number) for number in array.ravel()]


def _resized(b: Builder, node: ir.Node, x: Tensor, axes: Mapping[int, Resized], how: Filter) -> Tensor:
    """``x`` with one stored axis resized, or with the two of height and width."""
    at, axis = next(iter(axes.items()))
    flags = _flags(how, *axes.values())
    if flags is not None:
        return _bilinear(b, x, axes, flags)
    floating = x.dtype.kind == "f"
    if how.mode == "nearest" and not is_outside(axis, how).any():
        index = nearest(axis, how)
        pattern, groups = _pattern(index, axis.size)
        runs = 1 + np.count_nonzero(np.diff(pattern) != 1)
        if runs <= _MOST_SLICES or not floating:
            before, after = math.prod(x.shape[:at]), math.prod(x.shape[at + 1 :])
            seen = b.reshape(x, (before * groups, axis.size // groups, after))
            return b.reshape(picked(b, seen, 1, pattern), (*x.shape[:at], axis.out, *x.shape[at + 1 :]))
    if not floating:
        b.refuse(node, f"mode {how.mode} on elements of {x.dtype}; only floating point is supported")
    if axis.size * axis.out > _MOST_WEIGHTS:
        b.refuse(node, f"its interpolation matrix would be {axis.out} x {axis.size}")
    return _product(b, x, at, axis, how)


def _flags(how: Filter, *axes: Resized) -> _Flags | None:
    """Flags of ``RESIZE_BILINEAR`` that give the coordinates of all these axes, None where there are none."""
    shrinks = any(axis.scale < 1 for axis in axes)
    if how.mode != "linear" or (how.antialias and shrinks) or any(is_outside(a, how).any() for a in axes):
        return None
    for flags in _FLAGS:
        if all(_agrees(how, axis, *flags) for axis in axes):
            return flags
    return None


def _agrees(how: Filter, axis: Resized, align_corners: bool, half_pixel: bool) -> bool:
    aligned = align_corners and axis.out > 1
    scale = (axis.size - 1) / (axis.out - 1) if aligned else axis.size / axis.out
    at = np.arange(axis.out)
    theirs = (at + 0.5) * scale - 0.5 if half_pixel else at * scale
    ours = coordinates(axis, how.coordinates)
    last = axis.size - 1
    return np.allclose(ours.clip(0, last), theirs.clip(0, last), rtol=0, atol=1e-7 * axis.size)


def _bilinear(b: Builder, x: Tensor, axes: Mapping[int, Resized], flags: _Flags) -> Tensor:
    first, last = min(axes), max(axes)
    before, after = math.prod(x.shape[:first]), math.prod(x.shape[last + 1 :])
    size, out = [axis.size for axis in axes.values()], [axis.out for axis in axes.values()]
    if len(axes) == 1:
        size, out = [*size, 1], [*out, 1]
    seen = b.reshape(x, (before, *size, after))
    options = schema.ResizeBilinearOptionsT()
    options.alignCorners, options.halfPixelCenters = flags
    target = (before, *out, after)
    made = b.emit("RESIZE_BILINEAR", [seen, b.integers(out)], target, options, version=3 if flags[1] else 1)
    sizes = [axes[at].out if at in axes else size for at, size in enumerate(x.shape)]
    return b.reshape(made, sizes)


def _pattern(index: Array, size: int) -> tuple[Array, int]:
    """The shortest index that, on groups of ``size/groups`` elements, repeats: it and the groups."""
    common = math.gcd(len(index), size)
    for groups in range(common, 0, -1):
        if common % groups:
            continue
        width = size // groups
        rows = index.reshape(groups, -1) - width * np.arange(groups)[:, None]
        if (rows == rows[0]).all() and rows.min() >= 0 and rows.max() < width:
            return rows[0], groups
    return index, 1


def _product(b: Builder, x: Tensor, at: int, axis: Resized, how: Filter) -> Tensor:
    before, after = math.prod(x.shape[:at]), math.prod(x.shape[at + 1 :])
    seen = b.reshape(x, (before, axis.size, after))
    weights = b.constant(matrix(axis, how))
    made = b.emit(
        "BATCH_MATMUL",
        [weights, seen],
        (before, axis.out, after),
        schema.BatchMatMulOptionsT(),
        dtype=x.dtype,
    )
    outside = is_outside(axis, how)
    if outside.any() and how.extrapolation_value:
        made = b.binary("ADD", made, b.constant(outside[:, None] * how.extrapolation_value))
    return b.reshape(made, (*x.shape[:at], axis.out, *x.shape[at + 1 :]))


RULES: Rules = {"Resize": Rule(lower, Policy.LAST), "Upsample": Rule(lower, Policy.LAST)}
