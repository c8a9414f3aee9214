"""A convolution between blocks of positions: the algebra of lane packing.

Per axis, let a convolution have ``k`` taps, stride ``s``, dilation ``d`` and begin pad ``p``. Blocks of ``B``
output positions read blocks of ``A = s*B`` inputs. In the padded input, output ``o = B*j + r`` (r < B) reads

    s*o + d*t = A*j + (s*r + d*t)                       tap t < k

so that block j of the outputs reads blocks ``j + u`` of the inputs at phase ``q``, ``A*u + q = s*r + d*t``:

    W'[(r, R), (q, S), u] = W[R, S, t]                  a block-Toeplitz kernel, 0 elsewhere

which is a convolution of stride 1 without pads. It is exact for every k, s, d, p and B: the input is padded
at the end until its blocks are full, and outputs beyond the last are cropped. On an axis where the positions
a block reads are *gathered* instead of blocked (time: they are whole frames), ``q = s*r + d*t`` and u is 0.

Useful share of the multiply-accumulates: per blocked axis ``k / (s*B*U)``, U the number of u; per gathered
axis ``k / (s*(B-1) + d*(k-1) + 1)``; times what the last block wastes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from tdedge.factor import Array, Factor, Shape


@dataclass(frozen=True)
class BlockedAxis:
    """One axis of a convolution between blocks.

    Attributes:
        taps: k.
        stride: s.
        dilation: d.
        pad: p, at the begin.
        size: input positions.
        outputs: output positions.
        block: B.
        gathered: whether the positions a block reads are gathered, not blocked.
    """

    taps: int
    stride: int
    dilation: int
    pad: int
    size: int
    outputs: int
    block: int
    gathered: bool = False

    @property
    def input_block(self) -> int:
        """A."""
        return self.stride * self.block

    @property
    def blocks(self) -> int:
        """Number of output blocks, the last one perhaps not full."""
        return -(-self.outputs // self.block)

    @property
    def reach(self) -> int:
        """Input positions from the first to the last that one output block reads."""
        return self.stride * (self.block - 1) + self.dilation * (self.taps - 1) + 1

    @property
    def phases(self) -> int:
        """Input positions that become channels."""
        return self.reach if self.gathered else self.input_block

    @property
    def block_taps(self) -> int:
        """U."""
        return 1 if self.gathered else -(-self.reach // self.input_block)

    @property
    def padded(self) -> int:
        """Positions of the padded input."""
        if self.gathered:
            return self.input_block * (self.blocks - 1) + self.reach
        return self.input_block * (self.blocks + self.block_taps - 1)

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros before and after the input; negative where its end is never read."""
        return self.pad, self.padded - self.pad - self.size

    def selection(self) -> Array:
        """(B, phases, U, k): 1 where output r reads phase q of block u with tap t."""
        chosen = np.zeros((self.block, self.phases, self.block_taps, self.taps))
        for r in range(self.block):
            for t in range(self.taps):
                u, q = divmod(self.stride * r + self.dilation * t, self.phases)
                chosen[r, q, u, t] = 1
        return chosen


def axes_of(
    factor: Factor, shape: Shape, blocks: Sequence[int], *, gather: bool = True
) -> tuple[BlockedAxis, ...]:
    """The axes of a factor for blocks ``(B, ...)``; with ``gather`` the first of three is gathered."""
    outputs = factor.output_shape(shape)[2:]
    return tuple(
        BlockedAxis(
            taps=factor.kernel_size[i],
            stride=factor.stride[i],
            dilation=factor.dilation[i],
            pad=factor.pads[i][0],
            size=shape[2 + i],
            outputs=outputs[i],
            block=blocks[i],
            gathered=gather and len(blocks) == 3 and i == 0,
        )
        for i in range(len(blocks))
    )


def packed_kernel(kernel: Array, axes: Sequence[BlockedAxis]) -> Array:
    """(C_out, C_in, *k) as (*B_without_first.., ...): see the order of channels below.

    Output channels are ordered (blocks of the last axes, block of the gathered axis, C_out), input channels
    (gathered positions, phases of the last axes, C_in); then the block taps of the last axes.
    """
    result = kernel.astype(np.float64)
    # (C_out, C_in, k1, ..., kn) -> (C_out, C_in, B1, Q1, U1, ..., Bn, Qn, Un)
    for axis in axes:
        result = np.tensordot(result, axis.selection(), axes=([2], [3]))
    count = len(axes)
    outputs, phases, taps = ([2 + 3 * i + part for i in range(count)] for part in range(3))
    if axes[0].gathered:
        outputs = [*outputs[1:], outputs[0]]
    result = result.transpose(*outputs, 0, *phases, 1, *taps)
    channels_out = kernel.shape[0] * prod(axis.block for axis in axes)
    channels_in = kernel.shape[1] * prod(axis.phases for axis in axes)
    sizes = [axis.block_taps for axis in axes if not axis.gathered]
    return result.reshape(channels_out, channels_in, *sizes)


def packed_macs(factor: Factor, axes: Sequence[BlockedAxis]) -> int:
    """Multiply-accumulates of the convolution between blocks."""
    per_output = factor.in_channels * prod(axis.phases * axis.block_taps for axis in axes)
    return per_output * factor.out_channels * prod(axis.blocks * axis.block for axis in axes)
