"""Spatial SVD: one spatial axis, then the others.

======  ====================  ===========================  =====
factor  conv                  stride, pads, dilation       bias
======  ====================  ===========================  =====
1       first axis, S -> R    the dense layer's, axis 0    no
2       other axes, R -> T    the dense layer's, the rest  dense
======  ====================  ===========================  =====

2-D: ``(kh,1)`` then ``(1,kw)``; 3-D: ``(kt,1,1)`` then ``(1,kh,kw)``. The kernel as an
``(S*k0, T*k1*...)`` matrix is truncated to rank R, the best such chain in the Frobenius norm, exact at
full rank. With one spatial axis, or none (Linear), nothing is left for the second factor but a pointwise
mix: the chain equals that of :mod:`tdedge.formats.svd`. Parameters ``R*(S*k0 + k1*...*T)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tdedge.chain import Chain
from tdedge.factor import Array, Factor
from tdedge.formats.linalg import split, unfold
from tdedge.formats.topology import Step, channels, checked_ranks, decomposed, initialised, strongest_group

NAME = "spatial_svd"


def max_ranks(dense: Factor) -> tuple[int, ...]:
    """(R,): full rank of the (S*k0, T*k1*...) matrix of one group."""
    inputs, outputs = channels(dense)
    first, rest = math.prod(dense.kernel_size[:1]), math.prod(dense.kernel_size[1:])
    return (min(inputs * first, outputs * rest),)


def channel_ranks(dense: Factor) -> tuple[int, ...]:
    """(max(C_in, C_out),) of one group, at most the full rank."""
    return (min(max(channels(dense)), *max_ranks(dense)),)


def unfoldings(dense: Factor) -> list[Array]:
    """[(S*k0, T*k1*...)]; of the group with the largest norm where the layer is grouped."""
    return [_matrix(strongest_group(dense))]


def decompose(dense: Factor, ranks: Sequence[int]) -> Chain:
    """The chain of the module's text; ranks (R,), clamped to the full rank.

    Raises:
        UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
    """
    steps = _steps(dense, ranks)

    def fit(kernel: Array) -> list[Array]:
        first, rest = split(_matrix(kernel), steps[0].outputs)
        return [first.T, np.swapaxes(rest.reshape(rest.shape[0], kernel.shape[0], -1), 0, 1)]

    return decomposed(NAME, dense, steps, fit)


def scratch(dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
    """The same chain with random kernels, see :func:`tdedge.formats.topology.initialised`."""
    return initialised(NAME, dense_like, _steps(dense_like, ranks), seed)


def _steps(dense: Factor, ranks: Sequence[int]) -> list[Step]:
    (rank,) = checked_ranks(NAME, ranks, max_ranks(dense))
    inputs, outputs = channels(dense)
    axes = tuple(range(dense.spatial_rank))
    return [Step(inputs, rank, axes[:1]), Step(rank, outputs, axes[1:])]


def _matrix(kernel: Array) -> Array:
    return unfold(kernel, *range(1, min(kernel.ndim, 3)))
