"""Pointwise factors of few channels, made wide by a view: segments of the positions as channels.

With the positions P cut into g segments, ``x (N, C, P)`` seen as ``(N, C*g, P/g)`` holds segment j of channel
c as channel ``c*g + j``, and

    y = (W (x) I_g) x                     the Kronecker product: each segment meets the same factor

No element moves; g times the multiply-accumulates fill lanes that would idle. Exact always, for ungrouped
pointwise factors and every g that divides P.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import onnx_ir as ir

from tdedge.factor import Factor, Shape
from tdedge_exporters.planner.emitter import Emitter
from tdedge_exporters.planner.offer import Emit, Offer

#: Channels worth having on the narrow side, and at most on the wide one.
NARROW, WIDE = 16, 128


def offers(factor: Factor, shape: Shape) -> Iterator[Offer]:
    """The number of segments that makes the narrow side wide enough, and half of it."""
    narrow, wide = sorted((factor.in_channels, factor.out_channels))
    if not factor.spatial_rank or not factor.is_pointwise or factor.groups != 1 or narrow >= NARROW:
        return
    segments = 2
    while segments * narrow < NARROW:
        segments *= 2
    for count in (segments, segments // 2):
        if count > 1 and count * wide <= WIDE and prod(shape[2:]) % count == 0:
            yield Offer(f"segments.{count}", _segments(factor, shape, count))


def _segments(factor: Factor, shape: Shape, count: int) -> Emit:
    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        batch, channels, *spatial = shape
        positions = prod(spatial) // count
        columns = spatial[-1] if positions % spatial[-1] == 0 else 1
        kernel = np.kron(factor.kernel.reshape(factor.out_channels, -1), np.eye(count))
        bias = None if factor.bias is None else np.repeat(factor.bias, count)
        seen = e.reshape(x, (batch, channels * count, positions // columns, columns))
        y = e.activation(e.conv(seen, kernel[:, :, None, None], bias), factor.activation)
        return e.reshape(y, (batch, factor.out_channels, *spatial))

    return emit
