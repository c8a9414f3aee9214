"""3-D factors on the clip as a batch of frames, (T, C, H, W): 2-D convolutions with all activations in place.

With the time taps ``W_k = W[:, :, k]`` and ``x_k``, the input frames that tap k meets (time padded with zero
frames; stride s and dilation d of the time axis choose ``x_k = xp[k*d :: s]``)::

    direct    y = W_0 * x                                     one time tap, stride 1, no pads
    sum       y = sum_k W_k * x_k                             each a 2-D convolution, added up
    joined    y = [W_0 .. W_K] * [x_0; ..; x_K]               frames joined along the channels
    banded    y = B * x, x seen as (1, T*C, H, W)             B block-banded; zero frames are left out

Exact always, for a batch of 1. ``banded`` needs ungrouped factors; it computes T_out*T instead of T_out*K
time taps, so it is offered for short clips alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce

import numpy as np
import onnx_ir as ir

from tdedge.factor import Array, Factor, Shape
from tdedge_exporters.planner.emitter import Emitter, shape_of
from tdedge_exporters.planner.layouts import Layout
from tdedge_exporters.planner.offer import Emit, Offer

#: ``banded`` is offered where it computes at most this many times the other forms' multiply-accumulates.
MAX_BAND_WASTE = 2.0


def offers(factor: Factor, shape: Shape) -> Iterator[Offer]:
    """Offers from frames to frames."""
    if factor.spatial_rank != 3 or len(shape) != 5 or shape[0] != 1:
        return
    taps, frames = factor.kernel_size[0], shape[2]
    if taps == factor.stride[0] == 1 and not any(factor.pads[0]):
        yield _offer("frames.direct", _direct(factor))
        return
    can_join = factor.groups == 1 and taps > 1
    yield _offer("frames.sum", _sum(factor, shape), is_partial=can_join)
    if can_join:
        yield _offer("frames.joined", _joined(factor, shape))
    if factor.groups == 1 and frames <= MAX_BAND_WASTE * taps:
        yield _offer("frames.banded", _banded(factor, shape))


def _offer(form: str, emit: Emit, *, is_partial: bool = False) -> Offer:
    return Offer(form, emit, Layout.FRAMES, Layout.FRAMES, is_partial)


def _conv(e: Emitter, x: ir.Value, factor: Factor, kernel: Array, bias: Array | None) -> ir.Value:
    """The spatial part of a factor with a 2-D kernel."""
    return e.conv(
        x,
        kernel,
        bias,
        stride=factor.stride[1:],
        pads=factor.pads[1:],
        dilation=factor.dilation[1:],
        groups=factor.groups,
    )


def _direct(factor: Factor) -> Emit:
    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        return e.activation(_conv(e, x, factor, factor.kernel[:, :, 0], factor.bias), factor.activation)

    return emit


def shifted(e: Emitter, x: ir.Value, factor: Factor, frames_out: int) -> list[ir.Value]:
    """For every time tap the frames it meets: (T_out, C, H, W) each; ``x`` itself where those are all."""
    begin, end = factor.pads[0]
    step, spread = factor.stride[0], factor.dilation[0]
    frames = shape_of(x)[0]
    reach = (frames_out - 1) * step + (factor.kernel_size[0] - 1) * spread + 1
    end = max(0, min(end, reach - begin - frames))
    whole = e.pad_first(x, begin, end)
    firsts = [tap * spread for tap in range(factor.kernel_size[0])]
    return [
        x
        if step == 1 and first == begin and frames_out == frames
        else e.slice(whole, 0, first, first + (frames_out - 1) * step + 1, step)
        for first in firsts
    ]


def _sum(factor: Factor, shape: Shape) -> Emit:
    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        frames = shifted(e, x, factor, factor.output_shape(shape)[2])
        parts = [
            _conv(e, part, factor, factor.kernel[:, :, tap], factor.bias if tap == 0 else None)
            for tap, part in enumerate(frames)
        ]
        return e.activation(reduce(lambda a, b: e.binary("Add", a, b), parts), factor.activation)

    return emit


def _joined(factor: Factor, shape: Shape) -> Emit:
    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        wide = e.concat(shifted(e, x, factor, factor.output_shape(shape)[2]), 1)
        out, into, taps, *size = factor.kernel.shape
        kernel = np.moveaxis(factor.kernel, 2, 1).reshape(out, taps * into, *size)
        return e.activation(_conv(e, wide, factor, kernel, factor.bias), factor.activation)

    return emit


def _banded(factor: Factor, shape: Shape) -> Emit:
    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        frames, channels, height, width = shape_of(x)
        result = factor.output_shape(shape)
        one = e.reshape(x, (1, frames * channels, height, width))
        bias = None if factor.bias is None else np.tile(factor.bias, result[2])
        y = _conv(e, one, replace(factor, groups=1), band(factor, frames, result[2]), bias)
        return e.activation(e.reshape(y, (result[2], result[1], *result[3:])), factor.activation)

    return emit


def band(factor: Factor, frames: int, frames_out: int) -> Array:
    """(T_out*C_out, T*C_in, kH, kW): time tap k of output frame t reads frame ``s*t + d*k - pad``."""
    out, into, taps, *size = factor.kernel.shape
    wide = np.zeros((frames_out, out, frames, into, *size), factor.kernel.dtype)
    for frame in range(frames_out):
        for tap in range(taps):
            read = factor.stride[0] * frame + factor.dilation[0] * tap - factor.pads[0][0]
            if 0 <= read < frames:
                wide[frame, :, read] += factor.kernel[:, :, tap]
    return wide.reshape(frames_out * out, frames * into, *size)
