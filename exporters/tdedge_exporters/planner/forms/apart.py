"""3-D factors on the frames of a clip, each a tensor of its own (1, C, H, W).

With the time taps ``W_k = W[:, :, k]`` output frame t is::

    sum       y_t = sum_k W_k * x_(s t + d k - p)                  2-D convolutions, added up
    joined    y_t = [W_k ..] * [x_(s t + d k - p); ..]             frames joined along the channels
    minimal   y_(t + i) = sum_j A_ij (W'_j * u_j)                  m frames by m + K - 1 convolutions

over the taps that meet a frame of the clip: frames of zeros are never computed. ``u_j`` are sums of frames,
``W'_j`` sums of time taps (see :mod:`.minimal`). Exact always, for a batch of 1; ``minimal`` for ungrouped
factors of time stride and dilation 1 with fewer frames of padding than time taps. A factor of one time tap is
``sum`` with nothing to add. Every constant is stored once for all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from itertools import chain

import numpy as np
import onnx_ir as ir

from tdedge.factor import Array, Factor, Shape
from tdedge_exporters.planner.clips import Clip
from tdedge_exporters.planner.emitter import Emitter, shape_of
from tdedge_exporters.planner.forms.minimal import EVERYWHERE, Filtering, filterings, gather, spread
from tdedge_exporters.planner.layouts import Layout
from tdedge_exporters.planner.offer import Offer

#: Longer clips would make graphs of too many nodes.
MAX_FRAMES = 64


def offers(factor: Factor, shape: Shape) -> Iterator[Offer]:
    """Offers from frames apart to frames apart."""
    if factor.spatial_rank != 3 or len(shape) != 5 or shape[0] != 1 or shape[2] > MAX_FRAMES:
        return
    taps = _taps(factor, shape)
    can_join = factor.groups == 1 and max(map(len, taps)) > 1
    yield _offer("apart.sum", factor, lambda write: map(write.sum, taps), is_partial=can_join)
    if can_join:
        yield _offer("apart.joined", factor, lambda write: map(write.joined, taps))
    for plan in filterings(factor, shape):
        frames = partial(_Writer.minimal, plan=plan, taps=taps)
        offer = _offer(f"apart.minimal{plan.outputs}", factor, frames, is_partial=True)
        yield replace(offer, work=plan.share)


#: For every output frame the (tap, input frame) that it reads, zero frames left out.
Taps = list[list[tuple[int, int]]]


def _taps(factor: Factor, shape: Shape) -> Taps:
    step, spacing, begin = factor.stride[0], factor.dilation[0], factor.pads[0][0]
    reads = [
        [(tap, step * frame + spacing * tap - begin) for tap in range(factor.kernel_size[0])]
        for frame in range(factor.output_shape(shape)[2])
    ]
    return [[(tap, read) for tap, read in each if 0 <= read < shape[2]] for each in reads]


def _offer(
    form: str, factor: Factor, frames: Callable[[_Writer], Iterable[ir.Value]], *, is_partial: bool = False
) -> Offer:
    """An offer of output frames, the activation left out."""

    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        assert isinstance(x, Clip)
        return Clip([e.activation(each, factor.activation) for each in frames(_Writer(e, x, factor))])

    return Offer(form, emit, Layout.APART, Layout.APART, is_partial)


class _Writer:
    """Writes output frames of one factor; every constant once."""

    def __init__(self, e: Emitter, x: Clip, factor: Factor) -> None:
        self._e, self._x, self._factor = e, x, factor
        self._bias = None if factor.bias is None else e.constant(factor.bias, x)
        self._kernels: dict[object, ir.Value] = {}

    def sum(self, reads: Sequence[tuple[int, int]]) -> ir.Value:
        """A convolution per tap, added up."""
        parts = [
            self._conv(self._x.frames[read], self._kernel((tap,)), not at)
            for at, (tap, read) in enumerate(reads)
        ]
        return reduce(lambda a, b: self._e.binary("Add", a, b), parts) if parts else self._padding()

    def joined(self, reads: Sequence[tuple[int, int]]) -> ir.Value:
        """One convolution over all that it reads."""
        if not reads:
            return self._padding()
        met = self._e.concat([self._x.frames[read] for _, read in reads], 1)
        return self._conv(met, self._kernel(tuple(tap for tap, _ in reads)), True)

    def minimal(self, plan: Filtering, taps: Taps) -> list[ir.Value]:
        """All frames, in blocks; those after the last whole block as sums."""
        whole = len(taps) - len(taps) % plan.outputs
        blocks = [self._block(plan, begin) for begin in range(0, whole, plan.outputs)]
        return [*chain(*blocks), *map(self.sum, taps[whole:])]

    def _block(self, plan: Filtering, begin: int) -> list[ir.Value]:
        first, known = begin - self._factor.pads[0][0], len(self._x.frames)
        places = range(first, first + plan.products)
        met = [self._x.frames[read] if 0 <= read < known else None for read in places]
        products: list[ir.Value | None] = []
        for index, part in enumerate(spread(self._e, plan, met)):
            if part is None:
                products.append(None)
                continue
            value, scale = part
            products.append(self._conv(value, self._mixed(plan, index, scale), index == EVERYWHERE))
        return gather(self._e, plan, products)

    def _kernel(self, chosen: tuple[int, ...]) -> ir.Value:
        """Time taps, joined along the input channels."""
        return self._constant(
            chosen, lambda: np.concatenate([self._factor.kernel[:, :, tap] for tap in chosen], 1)
        )

    def _mixed(self, plan: Filtering, product: int, scale: float) -> ir.Value:
        """The sum of time taps that one product multiplies by."""
        weights = scale * plan.kernels[product]
        return self._constant((product, scale), lambda: np.tensordot(self._factor.kernel, weights, (2, 0)))

    def _constant(self, key: object, make: Callable[[], Array]) -> ir.Value:
        if key not in self._kernels:
            self._kernels[key] = self._e.constant(make(), self._x)
        return self._kernels[key]

    def _conv(self, value: ir.Value, weights: ir.Value, has_bias: bool) -> ir.Value:
        factor = self._factor
        bias = self._bias if has_bias else None
        geometry = {"stride": factor.stride[1:], "dilation": factor.dilation[1:]}
        return self._e.conv(value, weights, bias, pads=factor.pads[1:], groups=factor.groups, **geometry)

    def _padding(self) -> ir.Value:
        """A frame that reads nothing but padding."""
        factor = self._factor
        sizes = factor.output_shape((1, factor.in_channels, *shape_of(self._x)[:1], *shape_of(self._x)[2:]))
        zeros = np.zeros((1, factor.out_channels, *sizes[3:]), factor.kernel.dtype)
        return self._e.constant(zeros + (0 if factor.bias is None else factor.bias[:, None, None]), self._x)
