"""Why a row realises less than it should: the limit that binds it, with the number that proves it.

A written account comes first; where there is none, the roofline bound of the planned graph is one if it
comes near the time that was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from benchmarks.realisation import limits
from benchmarks.realisation.rows import PLANNED, Row


@dataclass(frozen=True)
class Account:
    """A written account of a limit.

    Attributes:
        rows: names of rows (network, format, rank, runtime), with ``*``.
        limit: bandwidth, lanes or kernel, and the number.
        threads: the rows' threads.
    """

    rows: str
    limit: str
    threads: int = 1


ACCOUNTS: tuple[Account, ...] = ()


def account_of(row: Row, accounts: tuple[Account, ...] = ACCOUNTS) -> str:
    """The account of a row; empty where there is none."""
    for each in accounts:
        if each.threads == row.threads and fnmatchcase(row.name, each.rows):
            return each.limit
    measured_ms = row.median_ms(PLANNED)
    if not row.bound_ms or not measured_ms or not row.sgemm_gflops:
        return ""
    return limits.account(row.bound_ms, measured_ms, row.sgemm_gflops)
