"""Poolings, in 2-D forms in one to three dimensions.

A maximum over a box is the maximum along one axis of the maxima along the others, and so is a mean, once
each axis divides by its own number of counted taps: the counts of a box are the products of the axes'.
So ``(kT, kH, kW)`` is a pooling ``(kH, kW)`` on the view ``(N*T, H, W, C)``, then ``(kT, 1)`` on
``(N, T, H*W, C)``. XNNPACK pools no axis whose windows have gaps between them (stride > taps), none with a
dilation, and no single element: such an axis is a maximum or sum of slices, one per tap.

**Padding of a maximum.** Zeros do not win where no element is negative. Elsewhere the axis is extended by
copies: position ``-j`` by ``x[-j mod d]`` and position ``size-1+j`` by the last ``x[i]`` with
``i = size-1+j (mod d)``, where ``d`` is the dilation (``d = 1``: the border element is repeated). This is
exact when every window has a tap on the axis itself: its taps are ``d`` apart, so a window that reads
``-j`` and has a tap at or after 0 has its first such tap just at ``-j mod d``, and the copy adds nothing to
it; likewise at the end. A window on padding alone has no maximum and is refused.

**Padding of a mean.** Zeros, and ``taps / counted taps`` of each position as a constant factor afterwards
where the two differ; ``SAME`` counts as ``count_include_pad=0`` does and needs no factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.factor_nodes import conv_pads
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops.conv import taps_along
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.program import Array, Tensor
from tdedge_exporters.tflite.window import Axis, effective_pads, is_same, is_valid


@dataclass(frozen=True)
class _Kind:
    """How one axis (of a stored tensor) and two axes at once, height and width, are pooled."""

    along: Callable[[Tensor, int, Axis], Tensor]
    over: Callable[[Tensor, Axis, Axis], Tensor]


def lower_max(b: Builder, node: ir.Node) -> None:
    """``MaxPool`` over one to three axes.

    Raises:
        UnsupportedError: where indices are wanted, a window lies on padding alone, or elements are not
            floating point.
    """
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        b.refuse(node, "its output Indices is used", "use the maxima only, or leave tflite out of --to")
    axes = _axes(b, node)
    if any((counted(axis, pads=False) == 0).any() for axis in axes):
        b.refuse(node, "a window lies on padding alone", "use smaller pads")
    non_negative = b.is_non_negative(node.inputs[0])

    def extended(x: Tensor, windows: Mapping[int, Axis]) -> Tensor:
        return _with_zeros(b, x, windows) if non_negative else _with_copies(b, x, windows)

    def along(x: Tensor, axis: int, window: Axis) -> Tensor:
        return _joined(b, "MAXIMUM", taps_along(b, extended(x, {axis: window}), axis, _without_pads(window)))

    def over(x: Tensor, height: Axis, width: Axis) -> Tensor:
        if not is_same(height, width) and not is_valid(height, width):
            x = extended(x, {1: height, 2: width})
            height, width = _without_pads(height), _without_pads(width)
        return _pool2d(b, "MAX_POOL_2D", x, height, width)

    made = _pooled(b, node, axes, _Kind(along, over))
    b.put_last(node.outputs[0], made, non_negative=non_negative)


def lower_average(b: Builder, node: ir.Node) -> None:
    """``AveragePool`` over one to three axes, its padding counted or not.

    Raises:
        UnsupportedError: where a window has nothing to count, or elements are not floating point.
    """
    axes = _axes(b, node)
    pads = bool(g.attr_int(node, "count_include_pad", 0))
    if any((counted(axis, pads=pads) == 0).any() for axis in axes):
        b.refuse(node, "a window lies on padding alone", "use smaller pads")

    def along(x: Tensor, axis: int, window: Axis) -> Tensor:
        total = _joined(b, "ADD", taps_along(b, x, axis, window))
        return _scaled(b, total, {axis: 1 / counted(window, pads=pads)})

    def over(x: Tensor, height: Axis, width: Axis) -> Tensor:
        windows = {1: height, 2: width}
        alike = all((counted(w, pads=pads) == counted(w, pads=False)).all() for w in windows.values())
        if alike and is_same(height, width):
            return _pool2d(b, "AVERAGE_POOL_2D", x, height, width)
        x = _with_zeros(b, x, windows)
        made = _pool2d(b, "AVERAGE_POOL_2D", x, _without_pads(height), _without_pads(width))
        return _scaled(b, made, {at: w.taps / counted(w, pads=pads) for at, w in windows.items()})

    made = _pooled(b, node, axes, _Kind(along, over))
    b.put_last(node.outputs[0], made, non_negative=b.is_non_negative(node.inputs[0]))


def lower_global_max(b: Builder, node: ir.Node) -> None:
    """``GlobalMaxPool`` in any number of axes: a maximum over rows of pixels."""
    data, result = node.inputs[0], node.outputs[0]
    _require_float(b, node)
    n, c, *spatial = b.shape(data)
    x = b.get_last(data, (n, math.prod(spatial), 1, c))
    options = schema.ReducerOptionsT()
    options.keepDims = True
    made = b.emit("REDUCE_MAX", [x, b.integers((1, 2))], (n, 1, 1, c), options)
    b.put_last(result, made, non_negative=b.is_non_negative(data))


def counted(axis: Axis, *, pads: bool) -> Array:
    """How many taps of each window lie on the axis, or with ``pads`` on it and ONNX's padding: ``(out,)``.

    What a last window of ``ceil_mode`` reads beyond the padding never counts.
    """
    first = np.arange(axis.out) * axis.stride - axis.pads[0]
    positions = first[:, None] + np.arange(axis.taps) * axis.dilation
    low, high = (-axis.pads[0], axis.size + axis.pads[1]) if pads else (0, axis.size)
    return np.asarray(((positions >= low) & (positions < high)).sum(1))


def _require_float(b: Builder, node: ir.Node) -> None:
    data = node.inputs[0]
    if data is not None and data.dtype not in g.FLOATS:
        b.refuse(node, f"its elements are {data.dtype}; only floating point is supported")


def _axes(b: Builder, node: ir.Node) -> tuple[Axis, ...]:
    """Windows as (time, height, width), with axes along which nothing happens in front."""
    _require_float(b, node)
    shape, out = b.shape(node.inputs[0]), b.shape(node.outputs[0])[2:]
    spatial = shape[2:]
    if not 1 <= len(spatial) <= 3:
        b.refuse(node, f"a pooling over {len(spatial)} axes; 1 to 3 are supported")
    taps = g.attr_ints(node, "kernel_shape", ())
    strides, dilations = (g.attr_ints(node, key, (1,) * len(taps)) for key in ("strides", "dilations"))
    pads = conv_pads(node, taps, spatial)
    axes = [Axis(*each) for each in zip(spatial, taps, strides, dilations, pads, out, strict=True)]
    return (*(Axis.single() for _ in range(3 - len(axes))), *axes)


def _pooled(b: Builder, node: ir.Node, axes: tuple[Axis, ...], kind: _Kind) -> Tensor:
    """Height and width, then time."""
    time, height, width = axes
    n, c = b.shape(node.inputs[0])[:2]
    x = b.get_last(node.inputs[0], (n * time.size, height.size, width.size, c))
    x = _pooled2d(x, height, width, kind)
    pixels = height.out * width.out
    x = b.reshape(x, (n, time.size, pixels, c))
    return _pooled2d(x, time, Axis.single(pixels), kind)


def _pooled2d(x: Tensor, height: Axis, width: Axis, kind: _Kind) -> Tensor:
    """Axes 1 and 2 of ``x``: those XNNPACK has no pooling for one by one, then the rest."""
    left = []
    for axis, window in ((1, height), (2, width)):
        alone = not _is_still(window) and not _is_native(window)
        x = kind.along(x, axis, window) if alone else x
        left.append(Axis.single(window.out) if alone else window)
    return x if all(map(_is_still, left)) else kind.over(x, *left)


def _is_still(axis: Axis) -> bool:
    return axis.taps == axis.stride == 1 and axis.pads == (0, 0)


def _is_native(axis: Axis) -> bool:
    return axis.taps > 1 and axis.dilation == 1 and axis.stride <= axis.taps


def _pool2d(b: Builder, code: str, x: Tensor, height: Axis, width: Axis) -> Tensor:
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.SAME if is_same(height, width) else schema.Padding.VALID
    options.filterHeight, options.filterWidth = height.taps, width.taps
    options.strideH, options.strideW = height.stride, width.stride
    return b.emit(code, [x], (x.shape[0], height.out, width.out, x.shape[3]), options)


def _joined(b: Builder, code: str, taps: list[Tensor]) -> Tensor:
    made = taps[0]
    for tap in taps[1:]:
        made = b.binary(code, made, tap)
    return made


def _scaled(b: Builder, x: Tensor, factors: Mapping[int, Array]) -> Tensor:
    """``x`` times one factor per position of each of some axes."""
    factor = np.ones((1,) * len(x.shape))
    for axis, along in factors.items():
        factor = factor * along.reshape([-1 if at == axis else 1 for at in range(len(x.shape))])
    if (factor == 1).all():
        return x
    same = (factor == factor.flat[0]).all()
    return b.binary("MUL", x, b.constant(factor.flat[:1] if same else factor))


def _without_pads(axis: Axis) -> Axis:
    """The window on an axis that holds its pads as elements."""
    return replace(axis, size=axis.size + sum(effective_pads(axis)), pads=(0, 0))


def _with_zeros(b: Builder, x: Tensor, windows: Mapping[int, Axis]) -> Tensor:
    still = (0, 0)
    return b.pad(x, [effective_pads(windows[at]) if at in windows else still for at in range(len(x.shape))])


def _with_copies(b: Builder, x: Tensor, windows: Mapping[int, Axis]) -> Tensor:
    """Axes extended by elements that every window that reads them reads anyway; see the module."""
    for at, window in windows.items():
        begin, end = effective_pads(window)
        size, step = window.size, window.dilation
        before = np.arange(-begin, 0) % step
        after = size - step + np.arange(end) % step
        index = np.concatenate([before, np.arange(size), after]).clip(0, size - 1)
        x = picked(b, x, at, index)
    return x


def picked(b: Builder, x: Tensor, axis: int, index: Array) -> Tensor:
    """``x[index]`` along one axis, a slice for every run of neighbours."""
    cuts = np.flatnonzero(np.diff(index) != 1) + 1
    runs = np.split(index, cuts)
    return b.concat([b.slice(x, axis, int(run[0]), int(run[-1]) + 1) for run in runs], axis)


RULES: Rules = {
    "AveragePool": Rule(lower_average, Policy.LAST),
    "GlobalMaxPool": Rule(lower_global_max, Policy.LAST),
    "MaxPool": Rule(lower_max, Policy.LAST),
}
