"""3-D factors as 2-D convolutions on a view of the same memory: no element moves.

    pointwise   1 x 1 x 1    (N, C, T, H, W) = (N, C, T*H, W)      kernel (1, 1)
    temporal    k x 1 x 1    (N, C, T, H, W) = (N, C, T, H*W)      kernel (k, 1)
    spatial     1 x k x k    (1, C, T, H, W) = (1, C*T, H, W)      groups C*T, every kernel T times

Exact where the taps of the axes that are merged are 1, with stride 1 and no pads there. The spatial view
needs a depthwise factor (a group then holds one frame of one channel) and a batch of 1. A 2-D pointwise
factor has the view (N, C, H*W, 1), which is no gain and is not offered.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from tdedge.factor import Factor, Shape
from tdedge_exporters.planner.emitter import Emitter
from tdedge_exporters.planner.offer import Emit, Offer


def offers(factor: Factor, shape: Shape) -> Iterator[Offer]:
    """At most one view of each kind."""
    if factor.spatial_rank != 3 or len(shape) != 5:
        return
    n, c, t, h, w = shape
    if factor.is_pointwise:
        yield Offer("view.pointwise", _merged(factor, shape, (n, c, t * h, w)))
    elif _flat(factor, 1) and _flat(factor, 2):
        yield Offer("view.temporal", _merged(factor, shape, (n, c, t, h * w)))
    elif _flat(factor, 0) and factor.is_depthwise and shape[0] == 1:
        yield Offer("view.spatial", _spatial(factor, shape))


def _flat(factor: Factor, axis: int) -> bool:
    """True where the factor does not see the axis at all."""
    return factor.kernel_size[axis] == factor.stride[axis] == 1 and not any(factor.pads[axis])


def _merged(factor: Factor, shape: Shape, seen: Shape) -> Emit:
    """The first axis of a factor on a view ``seen`` (N, C, T or T*H, the rest)."""

    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        y = e.conv(
            e.reshape(x, seen),
            factor.kernel[..., 0],
            factor.bias,
            stride=(factor.stride[0], 1),
            pads=(factor.pads[0], (0, 0)),
            dilation=(factor.dilation[0], 1),
            groups=factor.groups,
        )
        return e.reshape(e.activation(y, factor.activation), factor.output_shape(shape))

    return emit


def _spatial(factor: Factor, shape: Shape) -> Emit:
    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        _, c, t, h, w = shape
        y = e.conv(
            e.reshape(x, (1, c * t, h, w)),
            np.repeat(factor.kernel[:, :, 0], t, axis=0),
            None if factor.bias is None else np.repeat(factor.bias, t),
            stride=factor.stride[1:],
            pads=factor.pads[1:],
            dilation=factor.dilation[1:],
            groups=c * t,
        )
        return e.reshape(e.activation(y, factor.activation), factor.output_shape(shape))

    return emit
