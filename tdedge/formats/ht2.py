"""HT-2, hierarchical Tucker-2: ``X[s,i,t,j] = sum U1[s,r1] G1[r1,i,r] G2[r,r3,j] U3[t,r3]``.

======  ===================  ======================  =====
factor  conv                 stride, pads, dilation  bias
======  ===================  ======================  =====
1       pointwise, S -> R1   1, 0, 1                 no
2       (kh,1), R1 -> R13    the dense layer's, kh   no
3       (1,kw), R13 -> R3    the dense layer's, kw   no
4       pointwise, R3 -> T   1, 0, 1                 dense
======  ===================  ======================  =====

Ranks are (R1, R13, R3), the order of the links; :func:`unfoldings` has the same order. One pass of
sequentially truncated SVDs: U1 and U3 from the mode-S and mode-T unfoldings of the kernel, then the projected
kernel, as an ``(R1*kh, R3*kw)`` matrix, is truncated to R13, which is clamped to that matrix (a rank taken
from the whole kernel can exceed it). Exact at full ranks. The tree has the topology of a 4-core tensor train
over (S, kh, kw, T); the fit and the rank rule differ.

The tree is defined for two spatial axes. With three or one, and for Linear layers, the chain is the train of
:mod:`tdedge.formats.tt` over the same modes, under this format's name (3-D: four ranks; Linear: one).
Parameters ``S*R1 + kh*R1*R13 + kw*R13*R3 + R3*T``.

Source: Gabor and Zdunek 2023, Appl. Soft Comput. 132:109856.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tdedge.chain import Chain
from tdedge.factor import Array, Factor
from tdedge.formats import tt
from tdedge.formats.linalg import left_singular, unfold
from tdedge.formats.topology import Step, channels, checked_ranks, decomposed, initialised

NAME = "ht2"


def max_ranks(dense: Factor) -> tuple[int, ...]:
    """(R1, R13, R3) of one group in 2-D, otherwise those of the train."""
    if dense.spatial_rank != 2:
        return tt.max_ranks(dense)
    inputs, outputs = channels(dense)
    taps = math.prod(dense.kernel_size)
    return _clamp(dense, (min(inputs, outputs * taps), math.prod(dense.kernel.shape), outputs))


def channel_ranks(dense: Factor) -> tuple[int, ...]:
    """(C_in, larger of C_in and C_out, C_out) of one group, at most the full ranks."""
    return tuple(min(pair) for pair in zip(tt.channel_ranks(dense), max_ranks(dense), strict=True))


def unfoldings(dense: Factor) -> list[Array]:
    """[(S, ...), (S*kh, ...), (T, ...)] of the original kernel, in the order of the ranks.

    Of the group with the largest norm where the layer is grouped.
    """
    return tt.unfoldings(dense)


def decompose(dense: Factor, ranks: Sequence[int]) -> Chain:
    """The chain of the module's text; ranks (R1, R13, R3), clamped.

    Raises:
        UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
    """
    steps = _steps(dense, ranks)
    if dense.spatial_rank != 2:
        return tt.fitted(NAME, dense, steps)
    links = [step.outputs for step in steps[:-1]]
    return decomposed(NAME, dense, steps, lambda kernel: _tree(kernel, *links))


def scratch(dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
    """The same chain with random kernels, see :func:`tdedge.formats.topology.initialised`."""
    return initialised(NAME, dense_like, _steps(dense_like, ranks), seed)


def _steps(dense: Factor, ranks: Sequence[int]) -> list[Step]:
    if dense.spatial_rank != 2:
        return tt.steps(NAME, dense, ranks)
    first, middle, last = _clamp(dense, checked_ranks(NAME, ranks, max_ranks(dense)))
    inputs, outputs = channels(dense)
    return [Step(inputs, first), Step(first, middle, (0,)), Step(middle, last, (1,)), Step(last, outputs)]


def _clamp(dense: Factor, ranks: tuple[int, ...]) -> tuple[int, ...]:
    """R3 at most its unfolding's rank, R13 at most the matrix that is truncated to it."""
    inputs, _ = channels(dense)
    height, width = dense.kernel_size
    first, middle, last = ranks
    last = min(last, inputs * height * width)
    return first, min(middle, first * height, last * width), last


def _tree(kernel: Array, first: int, middle: int, last: int) -> list[Array]:
    """One group's kernels (out, in, taps), sequentially truncated."""
    in_basis, _ = left_singular(unfold(kernel, 1), first)
    out_basis, _ = left_singular(unfold(kernel, 0), last)
    core = np.tensordot(np.tensordot(kernel, in_basis, (1, 0)), out_basis, (0, 0))  # (kh, kw, R1, R3)
    matrix = core.transpose(2, 0, 3, 1).reshape(first * core.shape[0], -1)
    node, _ = left_singular(matrix, middle)
    down = node.reshape(first, -1, middle)
    across = (node.T @ matrix).reshape(middle, last, -1)
    return [in_basis.T, down.transpose(2, 0, 1), across.swapaxes(0, 1), out_basis]
