"""Why a row realises less than it should: the limit that binds it, with the number that proves it."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from benchmarks.realisation.rows import Row


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
    return next((a.limit for a in accounts if a.threads == row.threads and fnmatchcase(row.name, a.rows)), "")
