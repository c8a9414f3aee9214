"""KCP: pointwise and depthwise factors, ``W[t,s,a,b,c] = sum_q P[t,q] V[q,a] Z[q,b,c] B[s,q]``.

======  ======================  ==============================  ======  =====
factor  conv                    stride, pads, dilation          groups  bias
======  ======================  ==============================  ======  =====
1       pointwise, S -> Q       1, 0, 1                         1       no
2       (1,kh,kw), Q -> Q       the dense layer's, kh and kw    Q       no
3       (kt,1,1), Q -> Q        the dense layer's, kt           Q       no
4       pointwise, Q -> T       1, 0, 1                         1       dense
======  ======================  ==============================  ======  =====

2-D: pw, one ``(kh,kw)`` depthwise factor, pw; 1-D: the same with ``(k)``; Linear: ``S -> Q -> T``, the
truncated SVD. Meant to be trained from scratch (:func:`scratch`); :func:`decompose` fits the CP form of the
tensor (T, kt, kh*kw, S) by :mod:`tdedge.formats.als`, a local optimum that is exact at the full rank.
Parameters ``Q*(S + kh*kw + kt + T)``.

Source: Wang et al. 2024, Neurocomputing 565:126985 (3D-KCPNet). Its full text was not available to us: this
is our construction, consistent with its abstract.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tdedge.chain import Chain
from tdedge.factor import Array, Factor
from tdedge.formats import als, cp
from tdedge.formats.linalg import split
from tdedge.formats.topology import Step, channels, checked_ranks, decomposed, initialised

NAME = "kcp"


def max_ranks(dense: Factor) -> tuple[int, ...]:
    """(Q,): product of all modes (T, S, kt, kh*kw) but the longest, for one group."""
    inputs, outputs = channels(dense)
    sizes = (math.prod(dense.kernel_size[axis] for axis in axes) for axes in _owned_axes(dense))
    return (als.full_rank((outputs, inputs, *sizes)),)


def channel_ranks(dense: Factor) -> tuple[int, ...]:
    """(max(C_in, C_out),) of one group, at most the full rank."""
    return (min(max(channels(dense)), *max_ranks(dense)),)


def unfoldings(dense: Factor) -> list[Array]:
    """[(T, S*L)] or [(S, T*L)], as for CP."""
    return cp.unfoldings(dense)


def decompose(dense: Factor, ranks: Sequence[int]) -> Chain:
    """The chain of the module's text; ranks (Q,), clamped to the full rank.

    Raises:
        UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
    """
    steps = _steps(dense, ranks)

    def fit(kernel: Array) -> Sequence[Array]:
        if kernel.ndim == 2:
            return split(kernel, steps[0].outputs)[::-1]
        modes = (*kernel.shape[: kernel.ndim - 2], -1) if kernel.ndim > 3 else kernel.shape
        last, first, *taps = als.fit(kernel.reshape(modes), steps[0].outputs)
        return [first.T, *(column.T for column in reversed(taps)), last]

    return decomposed(NAME, dense, steps, fit)


def scratch(dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
    """The same chain with random kernels, see :func:`tdedge.formats.topology.initialised`."""
    return initialised(NAME, dense_like, _steps(dense_like, ranks), seed)


def _steps(dense: Factor, ranks: Sequence[int]) -> list[Step]:
    (rank,) = checked_ranks(NAME, ranks, max_ranks(dense))
    inputs, outputs = channels(dense)
    taps = [Step(rank, rank, axes, depthwise=True) for axes in _owned_axes(dense)]
    return [Step(inputs, rank), *taps, Step(rank, outputs)]


def _owned_axes(dense: Factor) -> list[tuple[int, ...]]:
    """Spatial axes of each depthwise factor: the last two together, then the first of three."""
    axes = tuple(range(dense.spatial_rank))
    return [owned for owned in (axes[-2:], axes[:-2]) if owned]
