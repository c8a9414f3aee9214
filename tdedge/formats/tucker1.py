"""Tucker-1 on the input mode: ``W = C x_S U``, a pointwise factor then a k-tap one.

======  =================  =======================  =====
factor  conv               stride, pads, dilation   bias
======  =================  =======================  =====
1       pointwise, S -> R  1, 0, 1                  no
2       k, R -> T          the dense layer's        dense
======  =================  =======================  =====

The kernel as an (S, T*L) matrix, L taps, is truncated to rank R, which is the best such chain in the
Frobenius norm and exact at ``R = min(S, T*L)``. A Linear layer becomes ``S -> R -> T``, its truncated SVD.
Its output-mode twin is :mod:`tdedge.formats.svd`. Parameters ``R*(S + T*L)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tdedge.chain import Chain
from tdedge.factor import Array, Factor
from tdedge.formats.linalg import split, unfold
from tdedge.formats.topology import Step, channels, checked_ranks, decomposed, initialised, strongest_group

NAME = "tucker1"


def max_ranks(dense: Factor) -> tuple[int, ...]:
    """(R,): full rank of the (S, T*L) matrix of one group."""
    inputs, outputs = channels(dense)
    return (min(inputs, outputs * math.prod(dense.kernel_size)),)


def channel_ranks(dense: Factor) -> tuple[int, ...]:
    """(C_in,) of one group, at most the full rank."""
    return max_ranks(dense)


def unfoldings(dense: Factor) -> list[Array]:
    """[(S, T*L)]; of the group with the largest norm where the layer is grouped."""
    return [unfold(strongest_group(dense), 1)]


def decompose(dense: Factor, ranks: Sequence[int]) -> Chain:
    """The chain of the module's text; ranks (R,), clamped to the full rank.

    Raises:
        UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
    """
    steps = _steps(dense, ranks)

    def fit(kernel: Array) -> list[Array]:
        basis, rest = split(unfold(kernel, 1), steps[0].outputs)
        return [basis.T, np.swapaxes(rest.reshape(-1, kernel.shape[0], *kernel.shape[2:]), 0, 1)]

    return decomposed(NAME, dense, steps, fit)


def scratch(dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
    """The same chain with random kernels, see :func:`tdedge.formats.topology.initialised`."""
    return initialised(NAME, dense_like, _steps(dense_like, ranks), seed)


def _steps(dense: Factor, ranks: Sequence[int]) -> list[Step]:
    (rank,) = checked_ranks(NAME, ranks, max_ranks(dense))
    inputs, outputs = channels(dense)
    return [Step(inputs, rank), Step(rank, outputs, tuple(range(dense.spatial_rank)))]
