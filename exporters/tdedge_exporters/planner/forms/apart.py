"""3-D factors on the frames of a clip, each a tensor of its own (1, C, H, W).

With the time taps ``W_k = W[:, :, k]`` output frame t is::

    sum       y_t = sum_k W_k * x_(s t + d k - p)                  2-D convolutions, added up
    joined    y_t = [W_k ..] * [x_(s t + d k - p); ..]             frames joined along the channels

over the taps that meet a frame of the clip: frames of zeros are never computed. Exact always, for a batch of
1. A factor of one time tap is ``sum`` with nothing to add. Every constant is stored once for all frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, reduce

import numpy as np
import onnx_ir as ir

from tdedge.factor import Factor, Shape
from tdedge_exporters.planner.clips import Clip
from tdedge_exporters.planner.emitter import Emitter
from tdedge_exporters.planner.layouts import Layout
from tdedge_exporters.planner.offer import Emit, Offer

#: Longer clips would make graphs of too many nodes.
MAX_FRAMES = 64


def offers(factor: Factor, shape: Shape) -> Iterator[Offer]:
    """Offers from frames apart to frames apart."""
    if factor.spatial_rank != 3 or len(shape) != 5 or shape[0] != 1 or shape[2] > MAX_FRAMES:
        return
    can_join = factor.groups == 1 and max(len(taps) for taps in _taps(factor, shape)) > 1
    yield _offer("apart.sum", _emit(factor, shape, joined=False), is_partial=can_join)
    if can_join:
        yield _offer("apart.joined", _emit(factor, shape, joined=True))


def _offer(form: str, emit: Emit, *, is_partial: bool = False) -> Offer:
    return Offer(form, emit, Layout.APART, Layout.APART, is_partial)


def _taps(factor: Factor, shape: Shape) -> list[list[tuple[int, int]]]:
    """For every output frame the (tap, input frame) that it reads, zero frames left out."""
    step, spread, begin = factor.stride[0], factor.dilation[0], factor.pads[0][0]
    reads = [
        [(tap, step * frame + spread * tap - begin) for tap in range(factor.kernel_size[0])]
        for frame in range(factor.output_shape(shape)[2])
    ]
    return [[(tap, read) for tap, read in each if 0 <= read < shape[2]] for each in reads]


def _emit(factor: Factor, shape: Shape, *, joined: bool) -> Emit:
    taps = _taps(factor, shape)
    result = factor.output_shape(shape)

    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        assert isinstance(x, Clip)
        bias = None if factor.bias is None else e.constant(factor.bias, x)

        @cache
        def kernel(chosen: tuple[int, ...]) -> ir.Value:
            return e.constant(np.concatenate([factor.kernel[:, :, tap] for tap in chosen], 1), x)

        def conv(value: ir.Value, chosen: tuple[int, ...], offset: ir.Value | None) -> ir.Value:
            geometry = {"stride": factor.stride[1:], "dilation": factor.dilation[1:]}
            weights = kernel(chosen)
            return e.conv(value, weights, offset, pads=factor.pads[1:], groups=factor.groups, **geometry)

        def frame(reads: list[tuple[int, int]]) -> ir.Value:
            if not reads:  # nothing but padding
                zeros = np.zeros((1, result[1], *result[3:]), factor.kernel.dtype)
                offset = 0 if factor.bias is None else factor.bias[:, None, None]
                return e.constant(zeros + offset, x)
            if joined:
                met = e.concat([x.frames[read] for _, read in reads], 1)
                return conv(met, tuple(tap for tap, _ in reads), bias)
            parts = [
                conv(x.frames[read], (tap,), None if index else bias)
                for index, (tap, read) in enumerate(reads)
            ]
            return reduce(lambda a, b: e.binary("Add", a, b), parts)

        return Clip([e.activation(frame(reads), factor.activation) for reads in taps])

    return emit
