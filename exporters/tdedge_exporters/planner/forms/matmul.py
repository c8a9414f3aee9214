"""Pointwise factors, and depthwise ones along time, as matrix products.

    last       y = x W^T       x (N, *spatial, C_in) channels last
    left       y = W x         x (N, C_in, positions), a view of the native layout
    in time    y_c = M_c x_c   x (C, T, H*W), a view of the native clip; M_c (T_out, T) banded:
                               M_c[t, s*t + d*k - pad] = W[c, k]

``last`` is one Gemm over all positions, bias and activation fused. It and ``left`` are exact for
ungrouped pointwise factors (``last`` also with a stride: positions are picked first), ``in time`` for
depthwise k x 1 x 1 factors and a batch of 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import onnx_ir as ir

from tdedge.factor import Factor, Shape
from tdedge_exporters.planner.emitter import Emitter, shape_of
from tdedge_exporters.planner.layouts import Layout
from tdedge_exporters.planner.offer import Emit, Offer

#: ``in time`` multiplies T frames where K are needed; more than this many times is not offered.
MAX_TIME_WASTE = 8


def offers(factor: Factor, shape: Shape) -> Iterator[Offer]:
    """Offers in the channels-last and in the native layout."""
    if factor.spatial_rank and prod(factor.kernel_size) == 1 and not any(map(any, factor.pads)):
        if factor.groups == 1:
            yield Offer("matmul.last", _last(factor), Layout.LAST, Layout.LAST)
            if factor.is_pointwise:
                yield Offer("matmul.left", _left(factor, shape))
    elif _is_temporal(factor) and shape[0] == 1 and shape[2] <= MAX_TIME_WASTE * factor.kernel_size[0]:
        yield Offer("matmul.time", _time(factor, shape))


def _is_temporal(factor: Factor) -> bool:
    still = factor.spatial_rank == 3 and factor.is_depthwise and factor.kernel_size[1:] == (1, 1)
    return still and factor.stride[1:] == (1, 1) and not any(map(any, factor.pads[1:]))


def _last(factor: Factor) -> Emit:
    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        for axis, step in enumerate(factor.stride, 1):
            x = e.slice(x, axis, 0, shape_of(x)[axis], step) if step > 1 else x
        sizes = shape_of(x)
        flat = e.reshape(x, (prod(sizes[:-1]), sizes[-1]))
        inputs = [flat, e.constant(factor.kernel.reshape(factor.out_channels, -1), x)]
        if factor.bias is not None:
            inputs.append(e.constant(factor.bias, x))
        y = e.op("Gemm", inputs, (prod(sizes[:-1]), factor.out_channels), transB=1)
        return e.reshape(e.activation(y, factor.activation), (*sizes[:-1], factor.out_channels))

    return emit


def _left(factor: Factor, shape: Shape) -> Emit:
    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        batch, channels, *spatial = shape
        flat = e.reshape(x, (batch, channels, prod(spatial)))
        y = e.matmul(e.constant(factor.kernel.reshape(factor.out_channels, -1), x), flat)
        if factor.bias is not None:
            y = e.binary("Add", y, e.constant(factor.bias[:, None], x))
        return e.reshape(e.activation(y, factor.activation), (batch, factor.out_channels, *spatial))

    return emit


def _time(factor: Factor, shape: Shape) -> Emit:
    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        _, channels, frames, height, width = shape
        result = factor.output_shape(shape)
        matrix = np.zeros((channels, result[2], frames), factor.kernel.dtype)
        for frame in range(result[2]):
            for tap in range(factor.kernel_size[0]):
                read = factor.stride[0] * frame + factor.dilation[0] * tap - factor.pads[0][0]
                if 0 <= read < frames:
                    matrix[:, frame, read] += factor.kernel[:, 0, tap, 0, 0]
        y = e.matmul(e.constant(matrix, x), e.reshape(x, (channels, frames, height * width)))
        if factor.bias is not None:
            y = e.binary("Add", y, e.constant(factor.bias[:, None, None], x))
        return e.reshape(e.activation(y, factor.activation), result)

    return emit
