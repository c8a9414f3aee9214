"""Tensor train over the kernel modes (S, k..., T).

=============  ======================  ============================  =====
factor         conv                    stride, pads, dilation        bias
=============  ======================  ============================  =====
1              pointwise, S -> r1      1, 0, 1                       no
one per axis   its axis, r_i -> r_i+1  the dense layer's, that axis  no
last           pointwise, r_n -> T     1, 0, 1                       dense
=============  ======================  ============================  =====

2-D: ``W[t,s,i,j] = sum A[s,r1] B[r1,i,r2] C[r2,j,r3] D[r3,t]`` as pw, ``(kh,1)``, ``(1,kw)``, pw; one rank
more in 3-D (``(kt,1,1)`` after the first pointwise), one less in 1-D. A Linear layer has two cores,
``S -> r1 -> T``: its truncated SVD. TT-SVD (sequential truncated SVDs); each rank is clamped to the size of
the matrix it truncates, ``r1 <= min(S, L*T)``, ``r2 <= min(r1*kh, kw*T)``, ..., and the chain is exact at
these bounds. Parameters ``S*r1 + kh*r1*r2 + kw*r2*r3 + r3*T``.

Source: Oseledets 2011, SIAM J. Sci. Comput. 33(5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorly
from tensorly.decomposition import tensor_train

from tdedge.chain import Chain
from tdedge.factor import Array, Factor
from tdedge.formats.linalg import svd_for_tensorly, unfold
from tdedge.formats.topology import Step, channels, checked_ranks, decomposed, initialised, strongest_group

NAME = "tt"


def max_ranks(dense: Factor) -> tuple[int, ...]:
    """One rank per link: the size of the matrix on either side of it, for one group."""
    return _clamp(dense, [math.prod(dense.kernel.shape)] * (dense.spatial_rank + 1))


def channel_ranks(dense: Factor) -> tuple[int, ...]:
    """(C_in, larger of C_in and C_out..., C_out) of one group, at most the full ranks; Linear: one rank."""
    inputs, outputs = channels(dense)
    inner = [max(inputs, outputs)] * max(dense.spatial_rank - 1, 0)
    wanted = [inputs, *inner, outputs] if dense.spatial_rank else [min(inputs, outputs)]
    return tuple(min(pair) for pair in zip(wanted, max_ranks(dense), strict=True))


def unfoldings(dense: Factor) -> list[Array]:
    """[(S, ...), (S*kh, ...), (T, ...)]: the kernel cut at each link, the last transposed.

    Of the group with the largest norm where the layer is grouped. Linear: [(S, T)].
    """
    kernel = strongest_group(dense)
    cuts = [unfold(kernel, *range(1, stop)) for stop in range(2, kernel.ndim)]
    return [*cuts, unfold(kernel, 0)] if cuts else [kernel.T]


def decompose(dense: Factor, ranks: Sequence[int]) -> Chain:
    """The chain of the module's text; one rank per link, clamped.

    Raises:
        UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
    """
    return fitted(NAME, dense, steps(NAME, dense, ranks))


def scratch(dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
    """The same chain with random kernels, see :func:`tdedge.formats.topology.initialised`."""
    return initialised(NAME, dense_like, steps(NAME, dense_like, ranks), seed)


def steps(name: str, dense: Factor, ranks: Sequence[int], activation: str | None = None) -> list[Step]:
    """Steps of a train at clamped ranks, with an activation on every inner link where one is given."""
    links = _clamp(dense, checked_ranks(name, ranks, max_ranks(dense)))
    inputs, outputs = channels(dense)
    middle = [
        Step(links[axis], links[axis + 1], (axis,), activation=activation) for axis in range(len(links) - 1)
    ]
    return [Step(inputs, links[0], activation=activation), *middle, Step(links[-1], outputs)]


def fitted(name: str, dense: Factor, train: Sequence[Step]) -> Chain:
    """The chain of these steps with the kernels of the TT-SVD."""
    links = [step.outputs for step in train[:-1]]

    def fit(kernel: Array) -> list[Array]:
        with tensorly.backend_context("numpy", local_threadsafe=True):
            cores = tensor_train(np.moveaxis(kernel, 0, -1), rank=[1, *links, 1], svd=svd_for_tensorly)
        first, *middle, last = cores.factors
        return [first[0].T, *(core.transpose(2, 0, 1) for core in middle), last[..., 0].T]

    return decomposed(name, dense, train, fit)


def _clamp(dense: Factor, ranks: Sequence[int]) -> tuple[int, ...]:
    """Each rank at most the rows and columns of the matrix that TT-SVD truncates to it."""
    inputs, outputs = channels(dense)
    clamped: list[int] = []
    rows, right = inputs, outputs * math.prod(dense.kernel_size)
    for rank, taps in zip(ranks, (*dense.kernel_size, 1), strict=True):
        clamped.append(min(rank, rows, right))
        rows, right = clamped[-1] * taps, right // taps
    return tuple(clamped)
