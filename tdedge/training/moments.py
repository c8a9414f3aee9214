"""Input patches of a layer and the moments that a least-squares fit of its kernel needs.

A convolution is a matrix product: at output position p of a group, ``y[p] = W x[p] + b`` with the patch
x[p] in R^(S*L) (S input channels of the group, L taps, channel first, zeros where it reaches into the
padding) and W the kernel as a (T, S*L) matrix. Over all positions of all samples,

    |W X + b 1' - Y|^2  =  tr(W A W') - 2 <W, B> + c      at the best b = mean(y) - W mean(x),

    A = sum (x - mean x)(x - mean x)',   B = sum (y - mean y)(x - mean x)',   c = sum |y - mean y|^2,

so A, B, c say all about the data that a fit can ask, in memory that does not grow with them. Without a bias
the same holds for moments about zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tdedge.factor import Factor

_CHUNK = 8 << 20  # elements of one block of patches


@dataclass(frozen=True)
class Moments:
    """Sums over positions, float64, one entry per group of the layer on the first axis.

    Attributes:
        count: number of positions.
        x: (G, S*L) sum of patches.
        y: (G, T) sum of targets.
        xx: (G, S*L, S*L) sum of ``x x'``.
        yx: (G, T, S*L) sum of ``y x'``.
        yy: (G,) sum of ``|y|^2``.
    """

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    yx: Tensor
    yy: Tensor

    @classmethod
    def zeros(cls, geometry: Factor, device: torch.device | str = "cpu") -> Moments:
        """No positions yet, for a layer of this kernel."""
        groups = geometry.groups
        width, outputs = geometry.kernel[0].size, geometry.out_channels // groups
        sizes = [
            (groups, width),
            (groups, outputs),
            (groups, width, width),
            (groups, outputs, width),
            (groups,),
        ]
        return cls(0, *(torch.zeros(size, dtype=torch.float64, device=device) for size in sizes))

    def add(self, geometry: Factor, x: Tensor, y: Tensor, positions: Tensor | None = None) -> Moments:
        """These moments and those of a batch; the sums are updated in place.

        Args:
            geometry: the layer's kernel shape, stride, pads, dilation and groups.
            x: its input, (N, C_in, *spatial) or (..., C_in).
            y: targets at its output, (N, C_out, *spatial') or (..., C_out).
            positions: flat indices of the output positions that count; all where None.
        """
        targets = y.movedim(1, -1) if geometry.spatial_rank else y
        targets = targets.reshape(-1, geometry.groups, geometry.out_channels // geometry.groups)
        if positions is None:
            positions = torch.arange(len(targets), device=y.device)
        for part in torch.split(positions, self._rows(geometry)):
            left = self._add_patches(geometry, x, part)
            right = targets[part].double().movedim(0, 1)
            self.y.add_(right.sum(1))
            self.yx.baddbmm_(right.mT, left)
            self.yy.add_(right.square().sum((1, 2)))
        return Moments(self.count + len(positions), *self._sums())

    def add_inputs(self, geometry: Factor, x: Tensor, positions: Tensor) -> Moments:
        """As :meth:`add` for the sums of patches only."""
        for part in torch.split(positions, self._rows(geometry)):
            self._add_patches(geometry, x, part)
        return Moments(self.count + len(positions), *self._sums())

    def plus(self, other: Moments) -> Moments:
        """The moments of both sets of positions."""
        pairs = zip(self._sums(), other._sums(), strict=True)
        return Moments(self.count + other.count, *(a + b for a, b in pairs))

    def centred(self) -> tuple[Tensor, Tensor, Tensor]:
        """(A, B, c) about the means, per position."""
        n = max(self.count, 1)
        x, y = self.x / n, self.y / n
        a = self.xx / n - x[:, :, None] * x[:, None, :]
        b = self.yx / n - y[:, :, None] * x[:, None, :]
        return a, b, self.yy / n - y.square().sum(1)

    def raw(self) -> tuple[Tensor, Tensor, Tensor]:
        """(A, B, c) about zero, per position."""
        n = max(self.count, 1)
        return self.xx / n, self.yx / n, self.yy / n

    def _rows(self, geometry: Factor) -> int:
        """Positions per block of patches."""
        return max(1, _CHUNK // (geometry.groups * self.x.shape[1]))

    def _add_patches(self, geometry: Factor, x: Tensor, positions: Tensor) -> Tensor:
        """The patches, (G, rows, S*L) in float64, after they were added to the sums."""
        left = patches(geometry, x, positions).double().movedim(0, 1)
        self.x.add_(left.sum(1))
        self.xx.baddbmm_(left.mT, left)
        return left

    def _sums(self) -> tuple[Tensor, ...]:
        return self.x, self.y, self.xx, self.yx, self.yy


def patches(geometry: Factor, x: Tensor, positions: Tensor) -> Tensor:
    """Input patches (rows, G, S*L) at flat output positions (over N and the spatial axes).

    Only the asked ones are copied.
    """
    axes = geometry.spatial_rank
    if axes == 0:
        return x.reshape(-1, geometry.groups, x.shape[-1] // geometry.groups)[positions]
    windows = functional.pad(x, [size for pair in reversed(geometry.pads) for size in pair])
    for axis, (taps, step, dilation) in enumerate(
        zip(geometry.kernel_size, geometry.stride, geometry.dilation, strict=True)
    ):
        windows = windows.unfold(2 + axis, dilation * (taps - 1) + 1, step)[..., ::dilation]
    windows = windows.movedim(1, 1 + axes)  # (N, *out, C, *taps)
    places = torch.unravel_index(positions, windows.shape[: 1 + axes])
    return windows[places].reshape(len(positions), geometry.groups, -1)


def sampled(total: int, share: float, seed: int) -> Tensor | None:
    """Sorted flat positions, one drawn from each of ``share * total`` equal stretches; None for all."""
    if share >= 1:
        return None
    count = max(1, math.ceil(share * total))
    ends = torch.arange(count + 1) * total // count
    draws = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ends[:-1] + (draws * (ends[1:] - ends[:-1])).long()
