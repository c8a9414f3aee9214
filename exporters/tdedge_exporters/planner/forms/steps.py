"""What stands between factors: element-wise operators and pools, in every layout that can have them.

    map     f(x) element by element: the same nodes in every layout; a constant per channel follows its axis
    pool    frames: the two spatial axes by a 2-D pool, the time axis by Max or Add of shifted frames

A pool in frames is exact without padding, dilation and ceil_mode along time; averages that leave padding out
of the count are taken apart only where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np
import onnx_ir as ir

from tdedge.factor import Shape
from tdedge_exporters import graph as g
from tdedge_exporters.planner.clips import Clip, frame_by_frame
from tdedge_exporters.planner.emitter import Emitter, shape_of
from tdedge_exporters.planner.layouts import Layout
from tdedge_exporters.planner.units import Unit, constant_axis


@dataclass(frozen=True)
class Pool:
    """A MaxPool or AveragePool node.

    Attributes:
        is_max: whether the largest is taken, not the mean.
        kernel: window per axis.
        stride: step per axis.
        pads: (begin, end) per axis.
        dilation: per axis.
        is_ceil: whether incomplete windows at the end count.
        counts_pads: whether padding counts in a mean.
    """

    is_max: bool
    kernel: Shape
    stride: Shape
    pads: tuple[tuple[int, int], ...]
    dilation: Shape
    is_ceil: bool
    counts_pads: bool

    def over(self, e: Emitter, x: ir.Value, kernel: Sequence[int], stride: Sequence[int]) -> ir.Value:
        """A pool without pads over (N, C, *spatial), with another window and step."""
        if prod(kernel) == prod(stride) == 1:
            return x
        batch, channels, *sizes = shape_of(x)
        result = [(size - k) // s + 1 for size, k, s in zip(sizes, kernel, stride, strict=True)]
        op = "MaxPool" if self.is_max else "AveragePool"
        return e.op(op, [x], (batch, channels, *result), kernel_shape=list(kernel), strides=list(stride))

    def merge(self, e: Emitter, parts: Sequence[ir.Value]) -> ir.Value:
        """The largest, or the mean, of equal parts."""
        if len(parts) == 1:
            return parts[0]
        if self.is_max:
            return reduce(lambda a, b: e.binary("Max", a, b), parts)
        total = reduce(lambda a, b: e.binary("Add", a, b), parts)
        return e.binary("Mul", total, e.constant(np.asarray(1 / len(parts)), total))


def pool_of(node: ir.Node) -> Pool | None:
    """The attributes of a pool; None where ``auto_pad`` is used or a second output is."""
    if g.attr_string(node, "auto_pad", "NOTSET") != "NOTSET" or len(node.outputs) != 1:
        return None
    kernel = g.attr_ints(node, "kernel_shape", ())
    axes = len(kernel)
    ones = (1,) * axes
    flat = g.attr_ints(node, "pads", (0,) * (2 * axes))
    return Pool(
        node.op_type == "MaxPool",
        kernel,
        g.attr_ints(node, "strides", ones),
        tuple(zip(flat[:axes], flat[axes:], strict=True)),
        g.attr_ints(node, "dilations", ones),
        bool(g.attr_int(node, "ceil_mode", 0)),
        bool(g.attr_int(node, "count_include_pad", 0)),
    )


def emit_map(
    e: Emitter, unit: Unit, inputs: Sequence[ir.Value], layout: Layout = Layout.NATIVE, repeat: int = 1
) -> ir.Value:
    """The element-wise nodes of ``unit`` on tensors of one layout; channels ``repeat`` times over."""
    node, *cuts = unit.nodes
    shape = unit.output_shape
    given = dict(zip(unit.inputs, inputs, strict=True))
    operands: list[ir.Value | None] = []
    for value in node.inputs:
        if value is None or value in given:
            operands.append(None if value is None else given[value])
            continue
        array = g.constant(value)
        assert array is not None
        if constant_axis(value, shape) == 0:
            operands.append(e.constant(array.reshape(())))
        else:
            channels = np.tile(array.reshape(-1), repeat)
            tail = 0 if layout is Layout.LAST else len(shape_of(inputs[0])) - 2
            operands.append(e.constant(channels.reshape(-1, *(1,) * tail)))

    def make(*given: ir.Value) -> ir.Value:
        known = dict(zip(inputs, given, strict=True))
        made = e.op(node.op_type, [known.get(x, x) if x else None for x in operands], shape_of(given[0]))
        made.type = unit.outputs[0].type
        for attribute in node.attributes.values():
            e.nodes[-1].attributes.add(attribute)
        for cut in cuts:
            bounds = [None if value is None else e.adopt(value) for value in cut.inputs[1:]]
            made = e.op(cut.op_type, [made, *bounds], shape_of(made))
        return made

    return frame_by_frame(make, *inputs)


def can_pool_frames(unit: Unit) -> bool:
    """True where a 3-D pool can be taken apart exactly."""
    pool = pool_of(unit.nodes[0])
    if len(unit.input_shape) != 5 or unit.input_shape[0] != 1:
        return False
    if pool is None or pool.dilation[0] != 1 or pool.is_ceil:
        return False
    if not pool.is_max and set(pool.dilation) != {1}:
        return False
    padded = any(map(any, pool.pads))
    return not any(pool.pads[0]) and (pool.is_max or pool.counts_pads or not padded or pool.kernel[0] == 1)


def emit_pool_frames(e: Emitter, unit: Unit, x: ir.Value) -> ir.Value:
    """A 3-D pool over frames (T, C, H, W), together or apart."""
    pool = pool_of(unit.nodes[0])
    assert pool is not None
    x = frame_by_frame(lambda each: _pool_space(e, unit, pool, each), x)
    frames_out, step = unit.output_shape[2], pool.stride[0]
    if isinstance(x, Clip):
        windows = [x.frames[first * step : first * step + pool.kernel[0]] for first in range(frames_out)]
        return Clip([pool.merge(e, window) for window in windows])
    last = (frames_out - 1) * step + 1
    return pool.merge(e, [e.slice(x, 0, first, first + last, step) for first in range(pool.kernel[0])])


def _pool_space(e: Emitter, unit: Unit, pool: Pool, x: ir.Value) -> ir.Value:
    """The 2-D pool of every frame in (T, C, H, W)."""
    _, channels, _, *sizes = unit.output_shape
    if prod(pool.kernel[1:]) * prod(pool.stride[1:]) > 1 or any(map(any, pool.pads[1:])):
        extra = {} if pool.is_max else {"count_include_pad": int(pool.counts_pads)}
        if pool.is_max and set(pool.dilation) != {1}:
            extra["dilations"] = list(pool.dilation[1:])  # type: ignore[assignment]
        pads = [begin for begin, _ in pool.pads[1:]] + [end for _, end in pool.pads[1:]]
        shape = (shape_of(x)[0], channels, *sizes)
        kernel, stride = list(pool.kernel[1:]), list(pool.stride[1:])
        operator = unit.nodes[0].op_type
        x = e.op(operator, [x], shape, kernel_shape=kernel, strides=stride, pads=pads, **extra)
    return x
