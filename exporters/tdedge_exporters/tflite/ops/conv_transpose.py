"""Transposed convolutions as ``TRANSPOSE_CONV`` or ``CONV_2D``; in three dimensions too.

Along one axis, with stride ``s`` and ``p`` cropped at the begin, tap ``t`` of the kernel carries ``x[i]``
to ``y[s*i + t*dilation - p]``. Dilated taps are taps of a longer kernel with zeros between them.

* It is the adjoint of the convolution that reads ``y`` with these pads and gives ``x``: ``TRANSPOSE_CONV``
  with ``SAME`` or ``VALID`` fits where that convolution does. Otherwise its full result is cropped.
* Read by *phase*, ``y[s*j + r] = sum over u of x[j-u] * w[s*u + r + p]``, it is ``s`` convolutions without
  stride whose results alternate: no zeros are stuffed and no result is added up. Time in three dimensions,
  grouped channels (which ``TRANSPOSE_CONV`` has not) and kernels as large as their stride (each phase is
  pointwise then, and measured 1.5 to 4 times faster) are done that way.

A kernel ``(kT, kH, kW)`` joins the frames of a phase along the channels for one ``TRANSPOSE_CONV`` on the
view ``(N*T, H, W, C)``; phase ``r`` then is every ``s``-th frame. The phases of
height and width are one ``CONV_2D`` with as many results, unfolded by a transpose; grouped channels are
repeated once per phase for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops.conv import conv2d
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import FIRST
from tdedge_exporters.tflite.program import Array, Tensor
from tdedge_exporters.tflite.window import Axis, is_same, is_valid


@dataclass(frozen=True)
class _Up:
    """One axis: ``begin`` results are cropped before the ``out`` that are kept."""

    size: int
    taps: int
    stride: int = 1
    dilation: int = 1
    begin: int = 0
    out: int = 1

    @classmethod
    def still(cls, size: int = 1) -> _Up:
        """An axis along which nothing happens."""
        return cls(size, 1, out=size)

    @property
    def reach(self) -> int:
        """Taps of the kernel with its dilation's zeros."""
        return self.dilation * (self.taps - 1) + 1

    @property
    def full(self) -> int:
        """Results that some tap reaches, counted from the first."""
        return self.stride * (self.size - 1) + self.reach

    @property
    def adjoint(self) -> Axis:
        """The convolution from ``y`` to ``x``."""
        end = max(self.full - self.begin - self.out, 0)
        return Axis(self.out, self.reach, self.stride, 1, (self.begin, end), self.size)

    @property
    def reads(self) -> range:
        """``u`` of the module's text, of all phases together."""
        low = -((self.stride - 1 + self.begin) // self.stride)
        return range(low, (self.reach - 1 - self.begin) // self.stride + 1)

    @property
    def positions(self) -> int:
        """Results of each phase."""
        return -(-self.out // self.stride)

    def tap(self, u: int, phase: int) -> int | None:
        """The kernel's tap by which a phase reads ``x[j-u]``, None where there is none."""
        tap, between = divmod(self.stride * u + phase + self.begin, self.dilation)
        return tap if not between and 0 <= tap < self.taps else None


def lower(b: Builder, node: ir.Node) -> None:
    """ONNX ``ConvTranspose`` in one, two and three dimensions.

    Raises:
        UnsupportedError: for another rank, negative pads, an element type that is not floating point, or
            weights in groups that are computed.
    """
    data, weight, result = node.inputs[0], node.inputs[1], node.outputs[0]
    assert data is not None
    if data.dtype not in g.FLOATS:
        b.refuse(node, f"its elements are {data.dtype}; only floating point is supported")
    axes, groups = _axes(b, node), g.attr_int(node, "group", 1)
    if groups > 1 and g.constant(weight) is None:
        b.refuse(node, "its weights are computed and group is not 1", "use constant weights")
    time, height, width = axes
    channels, outputs = b.shape(weight)[:2]
    w = b.get(weight, FIRST, (channels, outputs, time.taps, height.taps, width.taps))
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    offset = b.get(bias) if bias is not None else b.zeros(outputs * groups)
    n = b.shape(data)[0]
    x = b.get_last(data, (n * time.size, height.size, width.size, channels))
    still = [axis == _Up.still(axis.size) for axis in axes]
    if still[0]:
        made = _up2d(b, x, _at(b, w, 0), offset, height, width, groups)
    elif still[1] and still[2]:
        pixels = height.size * width.size
        x = b.reshape(x, (n, time.size, pixels, channels))
        w = b.reshape(w, (channels, outputs, time.taps, 1))
        made = _up2d(b, x, w, offset, time, _Up.still(pixels), groups)
    else:
        made = _up3d(b, x, w, offset, axes, groups)
    b.put_last(result, made)


def _axes(b: Builder, node: ir.Node) -> tuple[_Up, ...]:
    """(time, height, width), with axes along which nothing happens in front."""
    spatial, out = b.shape(node.inputs[0])[2:], b.shape(node.outputs[0])[2:]
    taps = b.shape(node.inputs[1])[2:]
    count = len(spatial)
    if not 1 <= count <= 3:
        b.refuse(node, f"a transposed convolution over {count} axes; 1 to 3 are supported")
    if len(out) != count:  # ONNX's shape inference does this
        b.refuse(node, f"output_shape is smaller than the input's {list(spatial)}", "give pads instead")
    strides, dilations = (g.attr_ints(node, key, (1,) * count) for key in ("strides", "dilations"))
    pads = g.attr_ints(node, "pads", (0,) * (2 * count))
    if min(pads) < 0:
        b.refuse(node, f"pads {list(pads)} are negative", "pad the output with Pad")
    extra = g.attr_ints(node, "output_padding", (0,) * count)
    auto = g.attr_string(node, "auto_pad", "NOTSET")
    sized = "output_shape" in node.attributes or auto.startswith("SAME")
    axes = []
    for at in range(count):
        axis = _Up(spatial[at], taps[at], strides[at], dilations[at], 0, out[at])
        spare = axis.full + extra[at] - axis.out
        if sized and (spare < -1 or ("output_shape" not in node.attributes and extra[at])):
            b.refuse(
                node,
                f"auto_pad {auto} asks for {axis.out} results along spatial axis {at}, where its taps reach "
                f"{axis.full} and output_padding is {extra[at]}",
                "give pads instead",
            )
        shared = max(spare, 0) // 2 if auto == "SAME_UPPER" else (max(spare, 0) + 1) // 2
        begin = shared if sized else pads[at] if auto == "NOTSET" else 0
        axes.append(_Up(spatial[at], taps[at], strides[at], dilations[at], begin, out[at]))
    return (*(_Up.still() for _ in range(3 - count)), *axes)


def _up2d(b: Builder, x: Tensor, w: Tensor, bias: Tensor, height: _Up, width: _Up, groups: int) -> Tensor:
    """``x (N, H, W, C)`` and ``w (C, O/groups, kH, kW)`` to ``(N, H', W', O)``."""
    w = _with_gaps(b, _with_gaps(b, w, 2, height.dilation), 3, width.dilation)
    disjoint = all(axis.reach == axis.stride and axis.begin == 0 for axis in (height, width))
    if groups > 1 or (disjoint and w.data is not None):
        return _by_phases(b, x, w, bias, height, width, groups)
    adjoint = height.adjoint, width.adjoint
    valid = is_valid(*adjoint)
    wide = any(axis.reach < axis.stride for axis in (height, width))  # XNNPACK has no SAME for these
    same = not valid and not wide and is_same(*adjoint)
    kernel = b.transpose(w, (1, 2, 3, 0))
    if valid or same:
        return _transpose_conv(b, x, kernel, bias, (height.out, width.out), (height, width), same=same)
    sizes = []
    for at, axis in ((1, height), (2, width)):
        most = axis.full + axis.stride - 1
        missing = -(-max(axis.begin + axis.out - most, 0) // axis.stride)
        x = b.pad_axis(x, at, (0, missing))
        sizes.append(max(axis.full + axis.stride * missing, axis.begin + axis.out))
    made = _transpose_conv(b, x, kernel, bias, (sizes[0], sizes[1]), (height, width), same=False)
    for at, axis in ((1, height), (2, width)):
        made = b.slice(made, at, axis.begin, axis.begin + axis.out)
    return made


def _transpose_conv(
    b: Builder,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor,
    size: tuple[int, int],
    axes: tuple[_Up, _Up],
    *,
    same: bool,
) -> Tensor:
    """``TRANSPOSE_CONV``: ``x (N, H, W, C)``, ``kernel (O, kH, kW, C)`` to ``(N, *size, O)``."""
    options = schema.TransposeConvOptionsT()
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.strideH, options.strideW = axes[0].stride, axes[1].stride
    shape = (x.shape[0], *size, kernel.shape[0])
    inputs = [b.integers(shape), kernel, x, bias]
    return b.emit("TRANSPOSE_CONV", inputs, shape, options, version=3, dtype=x.dtype)


def _by_phases(
    b: Builder, x: Tensor, w: Tensor, bias: Tensor, height: _Up, width: _Up, groups: int
) -> Tensor:
    """All phases of height and width as one ``CONV_2D``, unfolded by one transpose."""
    assert w.data is not None
    phases, kernel = height.stride * width.stride, _phase_kernel(w.data, height, width, groups)
    n, o = x.shape[0], bias.shape[0]
    x, rows = _read(b, x, 1, height)
    x, columns = _read(b, x, 2, width)
    if groups > 1:
        x, groups = b.concat([x] * phases, 3), groups * phases
    made = conv2d(b, x, b.constant(kernel), b.concat([bias] * phases, 0), rows, columns, groups)
    blocks = b.reshape(made, (n * height.positions, width.positions, height.stride, width.stride * o))
    size = (n, height.positions * height.stride, width.positions * width.stride, o)
    made = b.reshape(b.transpose(blocks, (0, 2, 1, 3)), size)
    return b.slice(b.slice(made, 1, 0, height.out), 2, 0, width.out)


def _phase_kernel(w: Array, height: _Up, width: _Up, groups: int) -> Array:
    """``(C, O/groups, kH, kW)`` as ``(phases of height, of width, O; taps of one phase; C/groups)``."""
    for at, axis in ((2, height), (3, width)):
        first = axis.stride * axis.reads[0] + axis.begin
        last = axis.stride * axis.reads[-1] + axis.begin + axis.stride - 1
        pads = [(0, 0)] * w.ndim
        pads[at] = (-first, last - axis.reach + 1)
        w = np.pad(w, pads)
    channels, outputs = w.shape[:2]
    taps = len(height.reads), len(width.reads)
    w = w.reshape(groups, channels // groups, outputs, taps[0], height.stride, taps[1], width.stride)
    w = w[:, :, :, ::-1, :, ::-1].transpose(4, 6, 0, 2, 3, 5, 1)
    return w.reshape(-1, *taps, channels // groups)


def _read(b: Builder, x: Tensor, at: int, axis: _Up) -> tuple[Tensor, Axis]:
    """``x`` without what no phase reads, and the convolution that gives every phase's results."""
    first, last = -axis.reads[-1], axis.positions - 1 - axis.reads[0]
    x = b.pad_axis(x, at, (0, max(first + 1 - axis.size, 0)))
    begin, end = max(first, 0), min(last + 1, x.shape[at])
    pads = max(-first, 0), max(last + 1 - x.shape[at], 0)
    x = b.slice(x, at, begin, end)
    return x, Axis(end - begin, len(axis.reads), 1, 1, pads, axis.positions)


def _up3d(b: Builder, x: Tensor, w: Tensor, bias: Tensor, axes: tuple[_Up, ...], groups: int) -> Tensor:
    """Every phase of time by itself, then all of them frame by frame."""
    time, height, width = axes
    n, outputs, pixels = x.shape[0] // time.size, bias.shape[0], height.out * width.out
    frames = _frames(b, x, time)
    phases = [
        {u: tap for u in time.reads if (tap := time.tap(u, phase)) is not None}
        for phase in range(time.stride)
    ]
    every = all(phases)
    parts: list[Tensor] = []
    empty = 0
    for taps in phases:
        if taps:
            offset = bias if every else b.zeros(outputs)
            made = _phase(b, frames, w, taps, offset, (height, width), groups)
            part = b.reshape(made, (n * time.positions, 1, pixels * outputs))
            parts.append(b.pad_axis(part, 1, (empty, 0)))
            empty = 0
        elif parts:
            parts[-1] = b.pad_axis(parts[-1], 1, (0, 1))
        else:
            empty += 1
    made = b.reshape(b.concat(parts, 1), (n, time.positions * time.stride, pixels * outputs))
    made = b.reshape(b.slice(made, 1, 0, time.out), (n * time.out * pixels, outputs))
    return made if every else b.binary("ADD", made, bias)


def _frames(b: Builder, x: Tensor, time: _Up) -> dict[int, Tensor]:
    """For every ``u`` the frames ``x[j-u]`` of all positions ``j``: ``(N*positions, H, W, C)``."""
    n = x.shape[0] // time.size
    rows = b.reshape(x, (n, time.size, x.shape[1] * x.shape[2] * x.shape[3]))
    rows, axis = _read(b, rows, 1, time)
    rows = b.pad_axis(rows, 1, axis.pads)
    cuts = {u: b.slice(rows, 1, at, at + axis.out) for at, u in enumerate(reversed(time.reads))}
    return {u: b.reshape(cut, (n * axis.out, *x.shape[1:])) for u, cut in cuts.items()}


def _phase(
    b: Builder,
    frames: dict[int, Tensor],
    w: Tensor,
    taps: dict[int, int],
    bias: Tensor,
    axes: tuple[_Up, _Up],
    groups: int,
) -> Tensor:
    """Results of one phase of time: frames joined along the channels, or one by one for groups."""
    kernels = [_at(b, w, tap) for tap in taps.values()]
    if groups == 1:
        joined = b.concat([frames[u] for u in taps], 3)
        return _up2d(b, joined, b.concat(kernels, 0), bias, *axes, 1)
    made: Tensor | None = None
    for u, kernel in zip(taps, kernels, strict=True):
        offset = bias if made is None else b.zeros(bias.shape[0])
        part = _up2d(b, frames[u], kernel, offset, *axes, groups)
        made = part if made is None else b.binary("ADD", made, part)
    assert made is not None
    return made


def _at(b: Builder, w: Tensor, tap: int) -> Tensor:
    """One tap of time of ``(C, O, kT, kH, kW)``, as ``(C, O, kH, kW)``."""
    return b.reshape(b.slice(w, 2, tap, tap + 1), (*w.shape[:2], *w.shape[3:]))


def _with_gaps(b: Builder, w: Tensor, at: int, dilation: int) -> Tensor:
    """Zeros between the taps of one axis of ``(C, O, kH, kW)``."""
    taps = w.shape[at]
    if dilation == 1 or taps == 1:
        return w
    before, after = math.prod(w.shape[:at]), math.prod(w.shape[at + 1 :])
    spread = b.pad_axis(b.reshape(w, (before * taps, 1, after)), 1, (0, dilation - 1))
    spread = b.reshape(spread, (*w.shape[:at], taps * dilation, *w.shape[at + 1 :]))
    return b.slice(spread, at, 0, dilation * (taps - 1) + 1)


RULES: Rules = {"ConvTranspose": Rule(lower, Policy.LAST)}
