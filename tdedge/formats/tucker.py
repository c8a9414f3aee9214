"""Tucker-2: only the channel modes are decomposed, ``W = C x_T U_out x_S U_in``.

======  =====================  =======================  =====
factor  conv                   stride, pads, dilation   bias
======  =====================  =======================  =====
1       pointwise, S -> R_in   1, 0, 1                  no
2       k, R_in -> R_out       the dense layer's        no
3       pointwise, R_out -> T  1, 0, 1                  dense
======  =====================  =======================  =====

Ranks are (R_in, R_out), the order of the links. They are clamped to the full ranks and to
``R_in <= R_out*L``, ``R_out <= R_in*L`` (L taps), beyond which nothing is gained. Higher-order orthogonal
iteration, started from the HOSVD; exact at full ranks. A Linear layer has no core worth a factor: it becomes
``S -> R -> T``, its truncated SVD at ``R = min(R_in, R_out)``, which equals the three-factor form.
Parameters ``S*R_in + R_in*R_out*L + R_out*T``.

Sources: Kim et al. 2016 (arXiv 1511.06530) for 2-D, Rasmussen et al. 2022 (arXiv 2203.07033) for 3-D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorly
from tensorly.decomposition import partial_tucker

from tdedge.chain import Chain
from tdedge.factor import Array, Factor
from tdedge.formats.linalg import split, svd_for_tensorly, unfold
from tdedge.formats.topology import Step, channels, checked_ranks, decomposed, initialised, strongest_group

NAME = "tucker"
_ITERATIONS = 50
_TOLERANCE = 1e-4  # change of the relative error at which the iteration stops


def max_ranks(dense: Factor) -> tuple[int, ...]:
    """(R_in, R_out): full ranks of the input and the output mode of one group."""
    inputs, outputs = channels(dense)
    taps = math.prod(dense.kernel_size)
    return min(inputs, outputs * taps), min(outputs, inputs * taps)


def channel_ranks(dense: Factor) -> tuple[int, ...]:
    """(C_in, C_out) of one group, at most the full ranks."""
    return max_ranks(dense)


def unfoldings(dense: Factor) -> list[Array]:
    """[(S, T*L), (T, S*L)]; of the group with the largest norm where the layer is grouped."""
    kernel = strongest_group(dense)
    return [unfold(kernel, 1), unfold(kernel, 0)]


def decompose(dense: Factor, ranks: Sequence[int]) -> Chain:
    """The chain of the module's text; ranks (R_in, R_out), clamped.

    Raises:
        UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
    """
    steps = _steps(dense, ranks)

    def fit(kernel: Array) -> Sequence[Array]:
        if kernel.ndim == 2:
            return split(kernel, steps[0].outputs)[::-1]
        with tensorly.backend_context("numpy", local_threadsafe=True):
            (core, (out_basis, in_basis)), _ = partial_tucker(
                kernel,
                rank=[steps[-1].inputs, steps[0].outputs],
                modes=[0, 1],
                n_iter_max=_ITERATIONS,
                tol=_TOLERANCE,
                svd=svd_for_tensorly,
                random_state=0,
            )
        return [in_basis.T, core, out_basis]

    return decomposed(NAME, dense, steps, fit)


def scratch(dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
    """The same chain with random kernels, see :func:`tdedge.formats.topology.initialised`."""
    return initialised(NAME, dense_like, _steps(dense_like, ranks), seed)


def _steps(dense: Factor, ranks: Sequence[int]) -> list[Step]:
    rank_in, rank_out = checked_ranks(NAME, ranks, max_ranks(dense))
    inputs, outputs = channels(dense)
    taps = math.prod(dense.kernel_size)
    rank_in = min(rank_in, rank_out * taps)
    rank_out = min(rank_out, rank_in * taps)
    if dense.spatial_rank == 0:
        return [Step(inputs, rank_in), Step(rank_out, outputs)]
    axes = tuple(range(dense.spatial_rank))
    return [Step(inputs, rank_in), Step(rank_in, rank_out, axes), Step(rank_out, outputs)]
