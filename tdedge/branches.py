"""Parallel chains that read one input and are summed, as one wider chain.

The first factors' kernels are stacked along C_out, inner factors become block-diagonal (more groups), the
last factors' kernels are stacked along C_in and their biases are added. Branches do not mix before the
last factor, so this is exact also with biases and activations on the inner links.
(Source: branch merge of KCP networks, Wang et al. 2024, Neurocomputing 565:126985, as we construct them.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tdedge.chain import Chain
from tdedge.compose import NotExactError
from tdedge.factor import Array, Factor


def add_branches(branches: Sequence[Chain]) -> Chain:
    """One wider chain equal to the sum of parallel chains that read the same input.

    Raises:
        NotExactError: when the branches differ in geometry, activation or outer channels, when an inner
            factor's groups cannot hold blocks of unequal size, or when a last factor has an activation.
    """
    lengths = {len(branch) for branch in branches}
    if len(lengths) != 1 or lengths == {1}:
        raise NotExactError(f"branches of {sorted(lengths)} factors; need equal lengths of at least 2")
    columns = list(zip(*(branch.factors for branch in branches), strict=True))
    for index, column in enumerate(columns):
        geometry = {(f.kernel_size, f.stride, f.pads, f.dilation, f.activation) for f in column}
        if len(geometry) != 1:
            raise NotExactError(f"branches differ in geometry or activation at factor {index}")
    ends = {(branch.in_channels, branch.out_channels) for branch in branches}
    if len(ends) != 1:
        raise NotExactError(f"branches of unequal (input, output) channels {sorted(ends)}")
    if columns[-1][0].activation is not None:
        raise NotExactError("the last factor has an activation; a sum of activations is not one")
    merged = [_widen_first(columns[0])]
    merged += [_widen_inner(column, index + 1) for index, column in enumerate(columns[1:-1])]
    merged += [_widen_last(columns[-1])]
    return Chain(tuple(merged), branches[0].format)


def _stacked_bias(column: Sequence[Factor]) -> Array | None:
    """Biases of parallel factors one after the other; zeros for one that has none."""
    if all(factor.bias is None for factor in column):
        return None
    return np.concatenate(
        [np.zeros(f.out_channels, f.kernel.dtype) if f.bias is None else f.bias for f in column]
    )


def _widen_first(column: Sequence[Factor]) -> Factor:
    if any(factor.groups != 1 for factor in column):
        raise NotExactError("a first factor with groups; branches can only share an ungrouped input")
    kernel = np.concatenate([factor.kernel for factor in column])
    return replace(column[0], kernel=kernel, bias=_stacked_bias(column))


def _widen_inner(column: Sequence[Factor], index: int) -> Factor:
    if len({(f.out_channels // f.groups, f.kernel.shape[1]) for f in column}) != 1:
        raise NotExactError(f"groups of unequal size at factor {index}; they cannot be one grouped factor")
    kernel = np.concatenate([factor.kernel for factor in column])
    groups = sum(factor.groups for factor in column)
    return replace(column[0], kernel=kernel, groups=groups, bias=_stacked_bias(column))


def _widen_last(column: Sequence[Factor]) -> Factor:
    if any(factor.groups != 1 for factor in column):
        raise NotExactError("a last factor with groups; only ungrouped outputs can be summed")
    kernel = np.concatenate([factor.kernel for factor in column], axis=1)
    biases = [factor.bias for factor in column if factor.bias is not None]
    return replace(column[0], kernel=kernel, bias=sum(biases[1:], biases[0]) if biases else None)
