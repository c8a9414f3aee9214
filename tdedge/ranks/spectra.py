"""Applies a rule for one matrix to every unfolding of every group of a layer."""

from __future__ import annotations

from collections.abc import Callable

from tdedge.factor import Array, Factor
from tdedge.formats import Format
from tdedge.formats.topology import group_kernels


def largest_over_groups(dense: Factor, fmt: Format, rank: Callable[[Array], int]) -> tuple[int, ...]:
    """Per rank of the format, the largest ``rank(unfolding)`` over the groups, at least 1.

    Raises:
        UsageError: when a weight is not finite.
    """
    per_group = (
        [max(1, rank(matrix)) for matrix in fmt.unfoldings(Factor(kernel))] for kernel in group_kernels(dense)
    )
    return tuple(max(ranks) for ranks in zip(*per_group, strict=True))
