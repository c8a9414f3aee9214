"""Convolutions as ``CONV_2D`` and ``DEPTHWISE_CONV_2D``; in three dimensions too.

A kernel with extent along time is one of

* ``(k, 1, 1)``: ``CONV_2D`` with kernel ``(k, 1)`` on the view ``(N, T, H*W, C)``, exact because no tap
  leaves its own pixel;
* ``(1, k, k)``: ``CONV_2D`` on the view ``(N*T, H, W, C)``, exact because no tap leaves its own frame;
* ``(k, k, k)``: the frames a tap of time reads are ``x[t0 + tap*dilation :: stride]``. Either all taps are
  joined along the channels for one ``CONV_2D`` (weights ``(O, kH, kW, kT*I)``), or, where the channels are
  grouped, one ``CONV_2D`` per tap is added up. Both do the same multiplications as the original.

``CONV_3D`` is never used: it is not delegated, has no groups, and needs ten times the memory.

A network's first layer, with few channels, joins its taps while the input is still channels-first: rows of
a frame are copied then, not single pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.factor_nodes import conv_pads
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy, g_shape
from tdedge_exporters.tflite.ops.rule import Rule, Rules
from tdedge_exporters.tflite.order import FIRST, natural
from tdedge_exporters.tflite.program import Tensor
from tdedge_exporters.tflite.window import Axis, effective_pads, is_same, is_valid

#: Up to here a first layer's taps are joined channels-first.
_FEW_CHANNELS = 16


@dataclass(frozen=True)
class _Conv:
    """A convolution's attributes; ``axes`` are (time, height, width) or (height, width)."""

    groups: int
    axes: tuple[Axis, ...]
    bias: Tensor


def policy(node: ir.Node) -> Policy:
    """Channels-last; a network's first layer with taps along time may read either."""
    shape = g_shape(node.inputs[0]) if node.inputs[0] is not None else ()
    weight = g_shape(node.inputs[1]) if node.inputs[1] is not None else ()
    joins = len(shape) == 5 and len(weight) == 5 and weight[2] > 1 and max(weight[3:]) > 1
    return Policy.STEM if joins and weight[1] == shape[1] < _FEW_CHANNELS else Policy.LAST


def lower(b: Builder, node: ir.Node) -> None:
    """ONNX ``Conv`` in one, two and three dimensions.

    Raises:
        UnsupportedError: for another rank, negative pads or an element type that is not floating point.
    """
    data, weight, result = node.inputs[0], node.inputs[1], node.outputs[0]
    shape, kernel = b.shape(data), b.shape(weight)
    if not 3 <= len(shape) <= 5:
        b.refuse(node, f"a convolution over {len(shape) - 2} axes; 1 to 3 are supported")
    spatial, taps, out = shape[2:], kernel[2:], b.shape(result)[2:]
    strides, dilations = (g.attr_ints(node, key, (1,) * len(taps)) for key in ("strides", "dilations"))
    pads = conv_pads(node, taps, spatial)
    if any(pad < 0 for pair in pads for pad in pair):
        b.refuse(node, f"pads {list(pads)} are negative", "crop the input with Slice")
    axes = tuple(Axis(*each) for each in zip(spatial, taps, strides, dilations, pads, out, strict=True))
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    conv = _Conv(g.attr_int(node, "group", 1), axes, b.get(bias) if bias is not None else b.zeros(kernel[0]))
    made = _lower_3d(b, node, conv) if len(axes) == 3 else _lower_2d(b, node, conv)
    b.put_last(result, made)


def _lower_2d(b: Builder, node: ir.Node, conv: _Conv) -> Tensor:
    """``(N, C, H, W)``; ``(N, C, W)`` with a height of 1."""
    shape, kernel = b.shape(node.inputs[0]), b.shape(node.inputs[1])
    height, width = conv.axes if len(conv.axes) == 2 else (Axis.single(), conv.axes[0])
    x = b.get_last(node.inputs[0], (shape[0], height.size, width.size, shape[1]))
    w = b.get(node.inputs[1], natural(kernel), (kernel[0], height.taps, width.taps, kernel[1]))
    return conv2d(b, x, w, conv.bias, height, width, conv.groups)


def _lower_3d(b: Builder, node: ir.Node, conv: _Conv) -> Tensor:
    time, height, width = conv.axes
    kernel = b.shape(node.inputs[1])
    n, c = b.shape(node.inputs[0])[:2]
    w = b.get(node.inputs[1], natural(kernel), (kernel[0], *(axis.taps for axis in conv.axes), kernel[1]))
    if height.taps == width.taps == 1:
        return _temporal(b, node, conv, w)
    if time.taps > 1 and conv.groups == 1 and not b.layout.reads_last(node):
        return _joined_first(b, node, conv, w)
    x = b.get_last(node.inputs[0], (n, time.size, height.size * width.size * c))
    frames = [b.reshape(cut, (n * time.out, height.size, width.size, c)) for cut in taps_along(b, x, 1, time)]
    if conv.groups == 1:
        return conv2d(b, b.concat(frames, 3), _joined(b, w), conv.bias, height, width, 1)
    made: Tensor | None = None
    for tap, frame in enumerate(frames):
        bias = conv.bias if made is None else b.zeros(kernel[0])
        part = conv2d(b, frame, _tap(b, w, tap), bias, height, width, conv.groups)
        made = part if made is None else b.binary("ADD", made, part)
    assert made is not None
    return made


def _temporal(b: Builder, node: ir.Node, conv: _Conv, w: Tensor) -> Tensor:
    """Kernel ``(k, 1, 1)``; a spatial stride only selects pixels, pads around a frame read zeros."""
    time, height, width = conv.axes
    n, c = b.shape(node.inputs[0])[:2]
    x = b.get_last(node.inputs[0], (n * time.size, height.size, width.size, c))
    if time.taps == 1:
        frames = b.reshape(x, (n, time.size, height.size * width.size * c))
        (cut,) = taps_along(b, frames, 1, time)
        x = b.reshape(cut, (n * time.out, height.size, width.size, c))
        return conv2d(b, x, _tap(b, w, 0), conv.bias, height, width, conv.groups)
    for axis, along in ((1, height), (2, width)):
        (x,) = taps_along(b, x, axis, along)
    pixels = height.out * width.out
    x = b.reshape(x, (n, time.size, pixels, c))
    w = b.reshape(w, (w.shape[0], time.taps, 1, w.shape[-1]))
    return conv2d(b, x, w, conv.bias, time, Axis.single(pixels), conv.groups)


def _joined_first(b: Builder, node: ir.Node, conv: _Conv, w: Tensor) -> Tensor:
    """Taps of time joined as channels while the input is channels-first, then one transpose."""
    time, height, width = conv.axes
    n, c = b.shape(node.inputs[0])[:2]
    pixels = height.size * width.size
    x = b.get(node.inputs[0], FIRST, (n * c, time.size, pixels))
    frames = [b.reshape(cut, (n, c, time.out * pixels)) for cut in taps_along(b, x, 1, time)]
    rows = b.transpose(b.concat(frames, 1), (0, 2, 1))
    x = b.reshape(rows, (n * time.out, height.size, width.size, time.taps * c))
    return conv2d(b, x, _joined(b, w), conv.bias, height, width, 1)


def taps_along(b: Builder, x: Tensor, axis: int, along: Axis, value: float = 0.0) -> list[Tensor]:
    """What each tap of a window reads along one axis of ``x``: ``out`` positions per tap.

    The axis is padded with ``value``, at its end up to a multiple of the stride, so that each tap is one
    slice.
    """
    begin, end = effective_pads(along)
    end += -(along.size + begin + end) % along.stride
    x = b.pad_axis(x, axis, (begin, end), value)
    firsts = [tap * along.dilation for tap in range(along.taps)]
    span = (along.out - 1) * along.stride + 1
    return [b.slice(x, axis, first, first + span, along.stride) for first in firsts]


def _tap(b: Builder, w: Tensor, tap: int) -> Tensor:
    """One tap of time of ``(O, kT, kH, kW, I)``, as ``(O, kH, kW, I)``."""
    one = b.slice(w, 1, tap, tap + 1)
    return b.reshape(one, (w.shape[0], *w.shape[2:]))


def _joined(b: Builder, w: Tensor) -> Tensor:
    """``(O, kT, kH, kW, I)`` as ``(O, kH, kW, kT*I)``."""
    o, kt, kh, kw, i = w.shape
    moved = b.transpose(b.reshape(w, (o, kt, kh * kw, i)), (0, 2, 1, 3))
    return b.reshape(moved, (o, kh, kw, kt * i))


def conv2d(b: Builder, x: Tensor, w: Tensor, bias: Tensor, height: Axis, width: Axis, groups: int) -> Tensor:
    """``CONV_2D`` or ``DEPTHWISE_CONV_2D``.

    Args:
        b: the program.
        x: ``(N, H, W, C)``.
        w: ``(O, kH, kW, C/groups)``.
        bias: ``(O,)``.
        height: geometry along axis 1 of ``x``.
        width: geometry along axis 2.
        groups: divides C and O.
    """
    n, _, _, c = x.shape
    o = w.shape[0]
    same = is_same(height, width)
    if not same and not is_valid(height, width):
        x = b.pad(x, [(0, 0), effective_pads(height), effective_pads(width), (0, 0)])
    depthwise = groups == c and w.shape[3] == 1 and c > 1
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.strideH, options.strideW = height.stride, width.stride
    options.dilationHFactor, options.dilationWFactor = height.dilation, width.dilation
    shape = (n, height.out, width.out, o)
    if not depthwise:
        return b.emit("CONV_2D", [x, w, bias], shape, options)
    options.depthMultiplier = o // c
    moved = b.transpose(b.reshape(w, (o, w.shape[1] * w.shape[2])), (1, 0))
    kernel = b.reshape(moved, (1, w.shape[1], w.shape[2], o))
    dilated = height.dilation > 1 or width.dilation > 1
    return b.emit("DEPTHWISE_CONV_2D", [x, kernel, bias], shape, options, version=1 + dilated)


RULES: Rules = {"Conv": Rule(lower, policy)}
