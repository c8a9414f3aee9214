"""Why a row realises less than it should: the limit that binds it, with the number that proves it.

A written account comes first; where there is none, the roofline bound of the planned graph is one if it
comes near the time that was measured, and else the kernels, if what their parts take more than dense
convolutions explains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from benchmarks.realisation import limits, parts
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

#: Convolutions reach up to 1.2 times the rate of a matrix product here; what is beyond leaves products out.
_BEYOND_KERNELS = 1.3


def account_of(row: Row, accounts: tuple[Account, ...] = ACCOUNTS) -> str:
    """The account of a row; empty where there is none."""
    for each in accounts:
        if each.threads == row.threads and fnmatchcase(row.name, each.rows):
            return each.limit
    measured_ms, dense_ms = row.median_ms(PLANNED), row.median_ms(row.best_dense)
    if not measured_ms:
        return ""
    found = ""
    if row.bound_ms and row.sgemm_gflops:
        found = limits.account(row.bound_ms, measured_ms, row.sgemm_gflops)
    if not found and row.parts and dense_ms:
        rates = parts.Rates(measured_ms, dense_ms, row.dense_macs, row.mac_ratio)
        found = parts.account(row.parts, rates)
    return found and found + _dense_products(row, dense_ms)


def _dense_products(row: Row, dense_ms: float | None) -> str:
    """That the best dense network leaves more products out than the chain can; empty where it does not."""
    if not dense_ms or not row.sgemm_gflops:
        return ""
    rate = 2 * row.dense_macs / dense_ms / 1e6
    if rate < _BEYOND_KERNELS * row.sgemm_gflops:
        return ""
    return (
        f"; minimal filtering leaves out products of the best dense network, {dense_ms:.1f} ms or "
        f"{rate:.0f} GFLOP/s of its multiply-accumulates, and fewer of the chain"
    )
