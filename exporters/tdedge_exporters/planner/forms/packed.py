"""Lane packing: neighbouring output positions as channels, so that few channels fill the SIMD lanes.

The convolution between blocks of :mod:`tdedge_exporters.planner.blocking`, and behind it, inside the packed
layout, everything that treats positions alike::

    pointwise factor        I (x) W: block-diagonal, one block per phase; also before the convolution, where
                            it has no bias, so that padding stays zero
    element-wise            as it is; constants per channel are repeated per phase
    pool, kernel and stride multiples of the block, no pads: over blocks, then over the phases

Exact always, for ungrouped factors (grouped ones are written dense first). Three axes need a batch of 1: the
clip is handled as frames (T, C, H, W), and the frames one block of outputs reads are joined as channels; or,
``minimal``, for time stride and dilation 1, they are mixed for fewer products (see :mod:`.minimal`), whose
sums are joined: outputs are ordered (frame, row, column, C) then, not (row, column, frame, C).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product, takewhile
from math import prod

import numpy as np
import onnx_ir as ir

from tdedge.factor import Array, Factor, Shape
from tdedge_exporters.planner.blocking import BlockedAxis, axes_of, packed_kernel, packed_macs
from tdedge_exporters.planner.emitter import Emitter, shape_of
from tdedge_exporters.planner.forms.minimal import EVERYWHERE, Filtering, filterings, gather, spread
from tdedge_exporters.planner.forms.steps import Pool, emit_map, pool_of
from tdedge_exporters.planner.layouts import Layout
from tdedge_exporters.planner.offer import keeps_zero
from tdedge_exporters.planner.units import Unit

#: Raised when the form writes other nodes than before: its old times are not found again then.
VERSION = 2
#: Blocks tried per axis, and packed channels at most, in lanes.
BLOCKS = (1, 2, 3, 4)
MAX_LANES = 4


@dataclass(frozen=True)
class Packing:
    """Blocks for one factor, with what they promise.

    Attributes:
        blocks: B per axis.
        score: useful share of the multiply-accumulates, times the share of the lanes that is filled.
        plan: the minimal filtering along time, where that is used.
    """

    blocks: Shape
    score: float
    plan: Filtering | None = None


def packings(factor: Factor, shape: Shape, lanes: int) -> list[Packing]:
    """Blocks that promise more than the plain convolution, best first; none of them minimal."""
    if factor.spatial_rank == 0 or factor.groups != 1 or prod(factor.kernel_size) == 1:
        return []
    if factor.spatial_rank == 3 and shape[0] != 1:
        return []
    plain = fill(factor.out_channels, lanes)
    found = []
    for blocks in product(BLOCKS, repeat=factor.spatial_rank):
        channels = factor.out_channels * prod(blocks)
        if prod(blocks) == 1 or channels > MAX_LANES * lanes:
            continue
        axes = axes_of(factor, shape, blocks)
        score = factor.macs((1, *shape[1:])) / packed_macs(factor, axes) * fill(channels, lanes)
        if score > plain:
            found.append(Packing(blocks, score))
    return sorted(found, key=lambda each: (-each.score, each.blocks))


def minimal_packings(factor: Factor, shape: Shape, lanes: int) -> list[Packing]:
    """Blocks whose frames a minimal filtering computes, best first; where :func:`packings` finds some."""
    if factor.spatial_rank != 3:
        return []
    found = []
    for plan in filterings(factor, shape):
        for rows, columns in product(BLOCKS, repeat=2):
            blocks, channels = (plan.outputs, rows, columns), factor.out_channels * rows * columns
            if channels > MAX_LANES * lanes:
                continue
            macs = macs_of(factor, axes_of(factor, shape, blocks), plan)
            found.append(Packing(blocks, factor.macs((1, *shape[1:])) / macs * fill(channels, lanes), plan))
    return sorted(found, key=lambda each: (-each.score, each.blocks))


def macs_of(factor: Factor, axes: Sequence[BlockedAxis], plan: Filtering | None) -> int:
    """Multiply-accumulates between blocks: a product of a minimal filtering computes one frame, not all."""
    return packed_macs(factor, axes) // (plan.outputs if plan else 1)


def fill(channels: int, lanes: int) -> float:
    """Share of the lanes that this many channels use."""
    return channels / (lanes * -(-channels // lanes))


@dataclass(frozen=True)
class Packed:
    """A tensor in the packed layout: (frames / B_t, B_h * B_w * B_t * C, H / B_h, W / B_w).

    Attributes:
        value: the tensor; one spatial axis is stored as (1, W).
        axes: the blocked axes of the factor that made it.
        outputs: real positions per axis.
        channels: C.
        has_frames_first: whether the frames of a block are the outermost of its positions.
    """

    value: ir.Value
    axes: tuple[BlockedAxis, ...]
    outputs: Shape
    channels: int
    has_frames_first: bool = False

    @property
    def phases(self) -> int:
        """Positions of one block."""
        return prod(axis.block for axis in self.axes)


def emit(
    e: Emitter,
    x: ir.Value,
    factor: Factor,
    blocks: Shape,
    reads: Layout,
    *,
    plan: Filtering | None = None,
    before: Sequence[Unit] = (),
    units: Sequence[Unit] = (),
) -> ir.Value:
    """The nodes of a packed run: the units before, ``factor``, the units after.

    Args:
        e: where the nodes go.
        x: the input, native or frames.
        factor: ungrouped.
        blocks: B per axis.
        reads: layout of ``x``; the output is in frames for three axes, native otherwise.
        plan: the minimal filtering along time whose outputs are the frames of a block.
        before: pointwise factors that :func:`can_precede`.
        units: the units that follow the factor: pointwise factors, maps, and a pool at the end.
    """
    shape = shape_of(x)
    if reads is Layout.FRAMES:
        shape = (1, shape[1], shape[0], *shape[2:])
    inner = (shape[0], factor.in_channels, *shape[2:])
    axes = axes_of(factor, inner, blocks)
    narrow = _pack(e, x, axes, reads)
    for unit in before:
        narrow = blockwise(
            e, narrow, unit.factor, prod(axis.input_block for axis in axes if not axis.gathered)
        )
    y = _minimal(e, narrow, factor, axes, plan) if plan else _joined(e, narrow, factor, axes)
    y = e.activation(y, factor.activation)
    packed = Packed(y, axes, factor.output_shape(inner)[2:], factor.out_channels, plan is not None)
    for unit in units:
        if unit.kind == "pool":
            return _pool(e, packed, pool_of(unit.nodes[0]))
        packed = _step(e, packed, unit)
    return _unpack(e, packed)


def can_follow(unit: Unit) -> bool:
    """True for units that work inside the packed layout: pointwise factors and maps of one input."""
    if unit.kind == "factor":
        return unit.factor.is_pointwise and unit.factor.groups == 1 and unit.factor.spatial_rank > 0
    return unit.kind == "map" and len(unit.inputs) == 1


def can_precede(unit: Unit) -> bool:
    """True for pointwise factors that keep zeros: the input is padded before them."""
    return can_follow(unit) and unit.kind == "factor" and unit.factor.bias is None and keeps_zero(unit.factor)


def can_pool(unit: Unit, blocks: Shape) -> bool:
    """True where a pool's windows begin and end with blocks."""
    if unit.kind != "pool":
        return False
    pool = pool_of(unit.nodes[0])
    if pool is None or any(map(any, pool.pads)) or set(pool.dilation) != {1} or pool.is_ceil:
        return False
    whole = zip(pool.kernel, pool.stride, blocks, strict=True)
    return all(k % b == 0 and s % b == 0 for k, s, b in whole)


def _pack(e: Emitter, x: ir.Value, axes: Sequence[BlockedAxis], reads: Layout) -> ir.Value:
    """(frames, A_h*A_w*C, H/A_h, W/A_w): padded, spatial positions as channels."""
    planes = list(axes[-2:]) if len(axes) > 1 else [None, axes[0]]
    sizes = shape_of(x)
    if reads is Layout.NATIVE and len(axes) == 3:
        x = e.reshape(x, sizes[1:])  # (C, T, H, W): every channel packed as a clip of its own
    elif len(axes) == 1:
        x = e.reshape(x, (*sizes[:2], 1, sizes[2]))
    pads = [(0, 0), (0, 0), *(axis.pads if axis else (0, 0) for axis in planes)]
    x = e.pad(x, pads)
    high, wide = (axis.input_block if axis else 1 for axis in planes)
    first, second, rows, columns = shape_of(x)
    x = space_to_depth(e, x, high, wide)
    rows, columns = rows // high, columns // wide
    if reads is Layout.NATIVE and len(axes) == 3:  # (C, A*T, h, w) -> (T, A*C, h, w)
        cut = e.reshape(x, (first, high * wide, second, rows * columns))
        x = e.reshape(e.transpose(cut, (2, 1, 0, 3)), (second, high * wide * first, rows, columns))
    return x


def space_to_depth(e: Emitter, x: ir.Value, high: int, wide: int) -> ir.Value:
    """(N, C, H, W) -> (N, high*wide*C, H/high, W/wide), channels ordered (row, column, C)."""
    if high == wide == 1:
        return x
    batch, channels, rows, columns = shape_of(x)
    shape = (batch, high * wide * channels, rows // high, columns // wide)
    if high == wide:
        return e.op("SpaceToDepth", [x], shape, blocksize=high)
    if high % wide == 0:  # square blocks, then whole rows of them: a transpose moves element by element
        square = space_to_depth(e, x, wide, wide)
        steps, count = high // wide, rows // wide
        return e.concat([e.slice(square, 2, first, count, steps) for first in range(steps)], 1)
    cut = e.reshape(x, (batch, channels, rows // high, high, columns // wide, wide))
    return e.reshape(e.transpose(cut, (0, 3, 5, 1, 2, 4)), shape)


def depth_to_space(e: Emitter, x: ir.Value, high: int, wide: int) -> ir.Value:
    """The inverse of :func:`space_to_depth`."""
    if high == wide == 1:
        return x
    batch, channels, rows, columns = shape_of(x)
    channels //= high * wide
    shape = (batch, channels, rows * high, columns * wide)
    if high == wide:
        return e.op("DepthToSpace", [x], shape, blocksize=high, mode="DCR")
    if high % wide == 0:
        part = wide * wide * channels
        squares = [e.slice(x, 1, first, first + part) for first in range(0, high // wide * part, part)]
        flat = (batch, channels, rows, wide * wide * columns)
        parts = [e.reshape(depth_to_space(e, square, wide, wide), flat) for square in squares]
        return e.reshape(e.concat(parts, 3), shape)
    cut = e.reshape(x, (batch, high, wide, channels, rows, columns))
    return e.reshape(e.transpose(cut, (0, 3, 4, 1, 5, 2)), shape)


def _joined(e: Emitter, x: ir.Value, factor: Factor, axes: Sequence[BlockedAxis]) -> ir.Value:
    """One convolution over the frames that every block reads: (frames / B, B_h*B_w*B_t*C, h, w)."""
    wide = e.concat(_gather(e, x, axes[0]), 1) if axes[0].gathered else x
    kernel = packed_kernel(factor.kernel, axes)
    return e.conv(wide, kernel if kernel.ndim == 4 else kernel[:, :, None], _bias(factor, axes))


def _minimal(
    e: Emitter, x: ir.Value, factor: Factor, axes: Sequence[BlockedAxis], plan: Filtering
) -> ir.Value:
    """One convolution per product over mixed frames: (frames / B, B_t*B_h*B_w*C, h, w)."""
    time, *space = axes
    products = []
    for index, part in enumerate(spread(e, plan, _gather(e, x, time))):
        assert part is not None
        mixed, scale = part
        kernel = np.tensordot(factor.kernel.astype(np.float64), scale * plan.kernels[index], (2, 0))
        bias = _bias(factor, space) if index == EVERYWHERE else None
        products.append(e.conv(mixed, packed_kernel(kernel, space), bias))
    return e.concat(gather(e, plan, products), 1)


def _bias(factor: Factor, axes: Sequence[BlockedAxis]) -> Array | None:
    return None if factor.bias is None else np.tile(factor.bias, prod(axis.block for axis in axes))


def _gather(e: Emitter, x: ir.Value, time: BlockedAxis) -> list[ir.Value]:
    """The frames that every block of outputs reads: (frames / B, C, h, w) each."""
    whole = e.pad_first(x, *time.pads)
    last = time.input_block * (time.blocks - 1)
    return [e.slice(whole, 0, first, first + last + 1, time.input_block) for first in range(time.reach)]


def _step(e: Emitter, x: Packed, unit: Unit) -> Packed:
    if unit.kind == "map":
        return replace(x, value=emit_map(e, unit, [x.value], repeat=x.phases))
    y = blockwise(e, x.value, unit.factor, x.phases)
    return replace(x, value=y, channels=unit.factor.out_channels)


def blockwise(e: Emitter, x: ir.Value, factor: Factor, phases: int) -> ir.Value:
    """A pointwise factor on every phase: channels are ordered (phase, C)."""
    kernel = np.kron(np.eye(phases), factor.kernel.reshape(factor.out_channels, -1))
    kernel = kernel.reshape(*kernel.shape, *(1,) * (len(shape_of(x)) - 2))
    bias = None if factor.bias is None else np.tile(factor.bias, phases)
    return e.activation(e.conv(x, kernel, bias), factor.activation)


def _pool(e: Emitter, x: Packed, pool: Pool | None) -> ir.Value:
    """Over blocks, then over the phases of a block; what is beyond the last full window is cropped."""
    assert pool is not None
    blocks = [axis.block for axis in x.axes]
    windows = [k // b for k, b in zip(pool.kernel, blocks, strict=True)]
    steps = [s // b for s, b in zip(pool.stride, blocks, strict=True)]
    results = [(o - k) // s + 1 for o, k, s in zip(x.outputs, pool.kernel, pool.stride, strict=True)]
    y = x.value
    if len(blocks) == 3:
        frames = range(windows[0])
        last = steps[0] * (results[0] - 1) + 1
        parts = [e.slice(y, 0, first, first + last, steps[0]) for first in frames]
        y = pool.merge(e, parts)
    planes = ([1, *windows], [1, *steps]) if len(blocks) == 1 else (windows[-2:], steps[-2:])
    y = pool.over(e, y, *planes)
    for axis, size in zip((2, 3), [1, *results][-2:], strict=True):
        y = e.slice(y, axis, 0, size)
    y = merge_phases(e, y, x.phases, x.channels, pool)
    return e.reshape(y, (shape_of(y)[0], x.channels, results[0])) if len(blocks) == 1 else y


def merge_phases(e: Emitter, y: ir.Value, phases: int, channels: int, pool: Pool) -> ir.Value:
    """Channels ordered (phase, C) to C channels: over the phases."""
    while phases > 1:
        parts = 2 if phases % 2 == 0 else phases
        phases //= parts
        wide = phases * channels
        y = pool.merge(e, [e.slice(y, 1, wide * i, wide * (i + 1)) for i in range(parts)])
    return y


def _unpack(e: Emitter, x: Packed) -> ir.Value:
    """Frames for three axes, native otherwise; outputs beyond the last are cropped."""
    high, wide = (x.axes[-2].block if len(x.axes) > 1 else 1), x.axes[-1].block
    y = x.value
    if x.has_frames_first:
        blocks, channels, *rest = shape_of(y)
        y = e.reshape(y, (blocks * x.axes[0].block, channels // x.axes[0].block, *rest))
    y = depth_to_space(e, y, high, wide)
    if len(x.axes) == 3:
        frames, channels, rows, columns = shape_of(y)
        frames *= channels // x.channels
        y = e.slice(e.reshape(y, (frames, x.channels, rows, columns)), 0, 0, x.outputs[0])
    for axis, size in zip((2, 3), [1, *x.outputs][-2:], strict=True):
        y = e.slice(y, axis, 0, size)
    return e.reshape(y, (shape_of(y)[0], x.channels, x.outputs[0])) if len(x.axes) == 1 else y


def followers(run: Sequence[Unit]) -> tuple[Unit, ...]:
    """The units behind a factor that can join it, as far as they come."""
    return tuple(takewhile(can_follow, run))
