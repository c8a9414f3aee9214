"""Alignment: ranks in whole vectors of the target.

A kernel of ``r`` channels runs on ``ceil(r / q)`` vectors of q lanes, so a rank of 17 costs as much as one
of 32 where q is 16, and says less. Ranks are therefore rounded to multiples of q; ranks of at most half a
vector stay as they are: lane packing and narrow kernels treat them by themselves.

Source: ranks as multiples of a constant in HALOC, Xiao et al. 2023, AAAI 37(9); the time of unaligned ranks
in ``docs/planner.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

from tdedge.errors import UsageError


def aligned(rank: int, most: int, quantum: int) -> int:
    """``rank`` rounded to the nearest multiple of ``quantum``, ties up; at most ``most``, the full rank.

    Where rounding up passes the full rank the full rank is taken: it is exact, and no larger vector is used.

    Raises:
        UsageError: when a number is below 1.
    """
    for name, value in (("rank", rank), ("full rank", most), ("quantum", quantum)):
        if value < 1:
            raise UsageError(f"{name} {value}; expected a whole number of at least 1")
    if rank >= most:
        return most
    if rank <= quantum // 2:
        return rank
    return min(max(quantum, (rank + quantum // 2) // quantum * quantum), most)


def align(ranks: Sequence[int], most: Sequence[int], quantum: int) -> tuple[int, ...]:
    """Every rank of a layer by :func:`aligned`; a quantum of 1 leaves them as they are.

    Raises:
        UsageError: when a number is below 1.
    """
    return tuple(aligned(rank, full, quantum) for rank, full in zip(ranks, most, strict=True))
