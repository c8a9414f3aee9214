"""CP: one component per channel of the chain, ``W[t,s,a,b,c] = sum_r P[t,r] V[a,r] H[b,r] Z[c,r] B[s,r]``.

=============  ========================  ============================  ======  =====
factor         conv                      stride, pads, dilation        groups  bias
=============  ========================  ============================  ======  =====
1              pointwise, S -> R         1, 0, 1                       1       no
one per axis   its axis, R -> R          the dense layer's, that axis  R       no
last           pointwise, R -> T         1, 0, 1                       1       dense
=============  ========================  ============================  ======  =====

3-D: pw, ``(kt,1,1)``, ``(kh,1)``, ``(1,kw)``, pw; fewer axes have fewer depthwise factors. A Linear layer
has none: ``S -> R -> T``, where CP is the truncated SVD. Fitted by :mod:`tdedge.formats.als`: a local
optimum, exact only at the full rank (or where the kernel has that few components and they are found).
Parameters ``R*(S + kt + kh + kw + T)``.

Sources: Lebedev et al. 2015 (arXiv 1412.6553) for 2-D, Kossaifi et al. 2020 (arXiv 1906.06196) for 3-D.
"""

from __future__ import annotations

from collections.abc import Sequence

from tdedge.chain import Chain
from tdedge.factor import Array, Factor
from tdedge.formats import als
from tdedge.formats.linalg import split, unfold
from tdedge.formats.topology import Step, channels, checked_ranks, decomposed, initialised, strongest_group

NAME = "cp"


def max_ranks(dense: Factor) -> tuple[int, ...]:
    """(R,): product of all modes (T, S, *k) but the longest, for one group."""
    inputs, outputs = channels(dense)
    return (als.full_rank((outputs, inputs, *dense.kernel_size)),)


def channel_ranks(dense: Factor) -> tuple[int, ...]:
    """(max(C_in, C_out),) of one group, at most the full rank."""
    return (min(max(channels(dense)), *max_ranks(dense)),)


def unfoldings(dense: Factor) -> list[Array]:
    """[(T, S*L)] or [(S, T*L)], of the larger channel mode: its rank bounds the CP rank from below.

    Of the group with the largest norm where the layer is grouped.
    """
    inputs, outputs = channels(dense)
    return [unfold(strongest_group(dense), 0 if outputs >= inputs else 1)]


def decompose(dense: Factor, ranks: Sequence[int]) -> Chain:
    """The chain of the module's text; ranks (R,), clamped to the full rank.

    Raises:
        UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
    """
    steps = _steps(dense, ranks)

    def fit(kernel: Array) -> Sequence[Array]:
        if kernel.ndim == 2:
            return split(kernel, steps[0].outputs)[::-1]
        last, first, *taps = als.fit(kernel, steps[0].outputs)
        return [first.T, *(column.T for column in taps), last]

    return decomposed(NAME, dense, steps, fit)


def scratch(dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
    """The same chain with random kernels, see :func:`tdedge.formats.topology.initialised`."""
    return initialised(NAME, dense_like, _steps(dense_like, ranks), seed)


def _steps(dense: Factor, ranks: Sequence[int]) -> list[Step]:
    (rank,) = checked_ranks(NAME, ranks, max_ranks(dense))
    inputs, outputs = channels(dense)
    taps = [Step(rank, rank, (axis,), depthwise=True) for axis in range(dense.spatial_rank)]
    return [Step(inputs, rank), *taps, Step(rank, outputs)]
