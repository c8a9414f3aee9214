"""Lane packing of a clip that stays (1, C, T, H, W): a 3-D convolution between blocks of positions.

The algebra is that of :mod:`tdedge_exporters.planner.blocking` with all three axes blocked, none gathered;
what may stand before and behind the convolution is that of :mod:`tdedge_exporters.planner.forms.packed`. No
frame is copied into channels, which pays where 5-D convolutions are as good as 2-D ones (OpenVINO).
Exact under the same conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from tdedge.factor import Factor, Shape
from tdedge_exporters.planner.blocking import BlockedAxis, axes_of, packed_kernel
from tdedge_exporters.planner.emitter import Emitter, shape_of
from tdedge_exporters.planner.forms.packed import blockwise, depth_to_space, merge_phases, space_to_depth
from tdedge_exporters.planner.forms.steps import emit_map, pool_of
from tdedge_exporters.planner.units import Unit


def emit(
    e: Emitter,
    x: ir.Value,
    factor: Factor,
    blocks: Shape,
    *,
    before: Sequence[Unit] = (),
    units: Sequence[Unit] = (),
) -> ir.Value:
    """The nodes of a packed run, native to native; see :func:`tdedge_exporters.planner.forms.packed.emit`."""
    inner = (1, factor.in_channels, *shape_of(x)[2:])
    axes = axes_of(factor, inner, blocks, gather=False)
    y = _pack(e, x, axes)
    for unit in before:
        y = blockwise(e, y, unit.factor, prod(axis.input_block for axis in axes))
    phases = prod(blocks)
    bias = None if factor.bias is None else np.tile(factor.bias, phases)
    y = e.activation(e.conv(y, packed_kernel(factor.kernel, axes), bias), factor.activation)
    channels, outputs = factor.out_channels, factor.output_shape(inner)[2:]
    for unit in units:
        if unit.kind == "pool":
            return _pool(e, y, unit, blocks, channels)
        if unit.kind == "map":
            y = emit_map(e, unit, [y], repeat=phases)
        else:
            y, channels = blockwise(e, y, unit.factor, phases), unit.factor.out_channels
    return _unpack(e, y, blocks, channels, outputs)


def _pack(e: Emitter, x: ir.Value, axes: Sequence[BlockedAxis]) -> ir.Value:
    """(1, C, T, H, W) -> (1, A_t*A_h*A_w*C, T/A_t, H/A_h, W/A_w), padded, the time phase first."""
    x = e.pad(x, [(0, 0), (0, 0), *(axis.pads for axis in axes)])
    _, channels, frames, height, width = shape_of(x)
    deep, high, wide = (axis.input_block for axis in axes)
    y = space_to_depth(e, e.reshape(x, (channels, frames, height, width)), high, wide)
    rows, columns = height // high, width // wide
    y = e.reshape(y, (channels, high * wide, frames // deep, deep, rows * columns))
    y = e.transpose(y, (3, 1, 0, 2, 4))
    return e.reshape(y, (1, deep * high * wide * channels, frames // deep, rows, columns))


def _pool(e: Emitter, y: ir.Value, unit: Unit, blocks: Shape, channels: int) -> ir.Value:
    """Over blocks, then over the phases of a block."""
    pool = pool_of(unit.nodes[0])
    assert pool is not None
    windows = [k // b for k, b in zip(pool.kernel, blocks, strict=True)]
    steps = [s // b for s, b in zip(pool.stride, blocks, strict=True)]
    y = pool.over(e, y, windows, steps)
    for axis, size in enumerate(unit.output_shape[2:], 2):
        y = e.slice(y, axis, 0, size)
    return merge_phases(e, y, prod(blocks), channels, pool)


def _unpack(e: Emitter, y: ir.Value, blocks: Shape, channels: int, outputs: Shape) -> ir.Value:
    """The inverse of :func:`_pack`; outputs beyond the last are cropped."""
    _, _, frames, rows, columns = shape_of(y)
    deep, high, wide = blocks
    y = e.reshape(y, (deep, high * wide, channels, frames, rows * columns))
    y = e.transpose(y, (2, 3, 0, 1, 4))
    y = depth_to_space(e, e.reshape(y, (channels * frames * deep, high * wide, rows, columns)), high, wide)
    y = e.reshape(y, (1, channels, frames * deep, rows * high, columns * wide))
    for axis, size in enumerate(outputs, 2):
        y = e.slice(y, axis, 0, size)
    return y
