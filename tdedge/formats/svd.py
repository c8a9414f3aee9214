"""SVD over the output channels: ``W = U x_T C``, a k-tap factor then a pointwise one.

======  =================  =======================  =====
factor  conv               stride, pads, dilation   bias
======  =================  =======================  =====
1       k, S -> R          the dense layer's        no
2       pointwise, R -> T  1, 0, 1                  dense
======  =================  =======================  =====

The kernel as a (T, S*L) matrix, L taps, is truncated to rank R, which is the best such chain in the Frobenius
norm and exact at ``R = min(T, S*L)``. For a pointwise or Linear layer it is the plain truncated SVD
``S -> R -> T``; for larger kernels it is Tucker-1 on the output mode (its input-mode twin is
:mod:`tdedge.formats.tucker1`). Parameters ``R*(S*L + T)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tdedge.chain import Chain
from tdedge.factor import Array, Factor
from tdedge.formats.linalg import split, unfold
from tdedge.formats.topology import Step, channels, checked_ranks, decomposed, initialised, strongest_group

NAME = "svd"


def max_ranks(dense: Factor) -> tuple[int, ...]:
    """(R,): full rank of the (T, S*L) matrix of one group."""
    inputs, outputs = channels(dense)
    return (min(outputs, inputs * math.prod(dense.kernel_size)),)


def channel_ranks(dense: Factor) -> tuple[int, ...]:
    """(C_out,) of one group, at most the full rank."""
    return max_ranks(dense)


def unfoldings(dense: Factor) -> list[Array]:
    """[(T, S*L)]; of the group with the largest norm where the layer is grouped."""
    return [unfold(strongest_group(dense), 0)]


def decompose(dense: Factor, ranks: Sequence[int]) -> Chain:
    """The chain of the module's text; ranks (R,), clamped to the full rank.

    Raises:
        UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
    """
    steps = _steps(dense, ranks)

    def fit(kernel: Array) -> list[Array]:
        mix, taps = split(unfold(kernel, 0), steps[0].outputs)
        return [taps, mix]

    return decomposed(NAME, dense, steps, fit)


def scratch(dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
    """The same chain with random kernels, see :func:`tdedge.formats.topology.initialised`."""
    return initialised(NAME, dense_like, _steps(dense_like, ranks), seed)


def _steps(dense: Factor, ranks: Sequence[int]) -> list[Step]:
    (rank,) = checked_ranks(NAME, ranks, max_ranks(dense))
    inputs, outputs = channels(dense)
    return [Step(inputs, rank, tuple(range(dense.spatial_rank))), Step(rank, outputs)]
