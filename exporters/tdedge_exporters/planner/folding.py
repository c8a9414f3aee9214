"""A factor with strides that reads whole steps: the positions of one step as channels.

Along an axis of stride s, tap k meets the input at offset ``k - p = s q + r`` with ``0 <= r < s``, so that::

    y[o, i] = sum_(c, k) W[o, c, k] x[c, s i + k - p]
            = sum_(r, c, q) W'[o, (r, c), q] x'[(r, c), i + q]        x'[(r, c), j] = x[c, s j + r]

with ``W'[o, (r, c), q] = W[o, c, s q + r + p]``, zero where there is no such tap, and stride 1. Exact always,
for axes whose extent is a multiple of the stride, without dilation and groups. It executes as many more
multiply-accumulates as the taps grow to whole steps, and pays where a runtime's vectors run over the input's
channels and an image has three: the integer kernels of ONNX Runtime and XNNPACK.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir

from tdedge.factor import Factor, Shape
from tdedge_exporters.planner.clips import frame_by_frame
from tdedge_exporters.planner.emitter import Emitter, shape_of
from tdedge_exporters.planner.forms.packed import space_to_depth
from tdedge_exporters.planner.layouts import Layout
from tdedge_exporters.planner.offer import Offer


@dataclass(frozen=True)
class Folded:
    """A factor of whole steps, and how its input becomes one.

    Attributes:
        factor: of stride 1 along the folded axes; its channels are ordered (row of a step, column, C).
        steps: positions that become channels, along rows and along columns.
    """

    factor: Factor
    steps: tuple[int, int]

    @property
    def name(self) -> str:
        """For candidates."""
        return f"folded.{'x'.join(map(str, self.steps))} "

    def shape(self, shape: Shape) -> Shape:
        """Of the folded input."""
        batch, channels, *spatial = shape
        steps = (1,) * (len(spatial) - 2) + self.steps[-len(spatial) :]
        return (batch, channels * prod(steps), *(size // s for size, s in zip(spatial, steps, strict=True)))

    def reads(self, layout: Layout, axes: int) -> bool:
        """Whether an input stored so can be folded: rows take single frames."""
        if layout is Layout.LAST:
            return False
        return self.steps[0] == 1 or axes == 2 or layout is not Layout.NATIVE

    def before(self, offer: Offer) -> Offer:
        """An offer for the folded factor as one that reads the input as it is."""
        return replace(offer, emit=lambda e, x: offer.emit(e, self.fold(e, x)))

    def fold(self, e: Emitter, x: ir.Value) -> ir.Value:
        """The input (N, C, *spatial), or the frames of a clip, folded."""
        rows, columns = self.steps
        return frame_by_frame(
            lambda each: space_to_depth(e, each, rows, columns) if rows > 1 else _columns(e, each, columns), x
        )


def folds(factor: Factor, shape: Shape, most: int) -> Iterator[Folded]:
    """Columns folded, and rows and columns, where that leaves ``most`` channels at most."""
    if factor.spatial_rank == 0 or factor.groups != 1:
        return
    axes = factor.spatial_rank
    for steps in dict.fromkeys(((1, factor.stride[-1]), (1, *factor.stride)[-2:])):
        if steps[1] == 1 or factor.in_channels * prod(steps) > most:
            continue
        made: Factor | None = factor
        for axis, step in zip((axes - 1, axes - 2), reversed(steps), strict=True):
            if made is not None and step > 1:
                made = _along(made, shape[2 + axis], axis)
        if made is not None:
            yield Folded(made, (steps[0], steps[1]))


def _along(factor: Factor, size: int, axis: int) -> Factor | None:
    """The factor with one axis of extent ``size`` folded; channels are ordered (position in a step, C)."""
    step, taps = factor.stride[axis], factor.kernel_size[axis]
    begin, end = factor.pads[axis]
    if size % step or factor.dilation[axis] != 1:
        return None
    ahead = -(-begin // step)  # whole steps that reach over the padding
    lead = ahead * step - begin
    reach = -(-(lead + taps) // step)
    results = (size + begin + end - taps) // step + 1
    behind = results - size // step - ahead + reach - 1
    if behind < 0:
        return None
    kernel = np.moveaxis(factor.kernel, 2 + axis, -1)
    kernel = np.pad(kernel, [(0, 0)] * (kernel.ndim - 1) + [(lead, reach * step - lead - taps)])
    whole = np.moveaxis(kernel.reshape(*kernel.shape[:-1], reach, step), -1, 1)
    out, _, channels, *others = whole.shape  # others: taps of the other axes, then of this one
    phases = whole.reshape(out, step * channels, *others)
    return replace(
        factor,
        kernel=np.moveaxis(phases, -1, 2 + axis),
        stride=(*factor.stride[:axis], 1, *factor.stride[axis + 1 :]),
        pads=(*factor.pads[:axis], (ahead, behind), *factor.pads[axis + 1 :]),
    )


def _columns(e: Emitter, x: ir.Value, step: int) -> ir.Value:
    """(N, C, *spatial, W) -> (N, step*C, *spatial, W/step), which moves nothing where channels are last."""
    batch, channels, *spatial, wide = shape_of(x)
    last = e.transpose(x, (0, *range(2, len(spatial) + 3), 1))
    cut = e.reshape(last, (batch, *spatial, wide // step, step * channels))
    return e.transpose(cut, (0, len(spatial) + 2, *range(1, len(spatial) + 2)))
