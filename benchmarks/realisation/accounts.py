"""Why a row realises less than it should: the limit that binds it, with the number that proves it.

A written account comes first; where there is none, the roofline bound of the planned graph is one if it
comes near the time that was measured, and else the kernels, if what their parts take more than dense
convolutions explains it. Where the best dense network leaves products out by minimal filtering, and the chain
fewer, what both would realise at one rate is told as well, and is an account if the row comes near that, at
least without the time of what multiplies nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from benchmarks.realisation import limits, parts
from benchmarks.realisation.rows import PLANNED, PLANNED_DENSE, Row


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

#: Share of what two networks would realise at one rate that is an account of what one does.
_EXPLAINS = 0.8


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
    return "; ".join(each for each in (found, _products(row, alone=not found)) if each)


def _products(row: Row, *, alone: bool) -> str:
    """That the best dense network leaves more products out than the chain can.

    Empty where it does not, or where that must explain the row alone and does not.
    """
    dense, own, realised = (*map(row.executed_macs.get, (PLANNED_DENSE, PLANNED)), row.realisation_best)
    if not dense or not own or not realised or row.best_dense != PLANNED_DENSE:
        return ""
    shares = dense / row.dense_macs, own / row.macs
    at_one_rate = shares[0] / shares[1]
    if at_one_rate >= 1:
        return ""
    found = (
        f"the best dense network executes {shares[0]:.0%} of its multiply-accumulates, the planned one "
        f"{shares[1]:.0%}: at one rate it would realise {at_one_rate:.2f}, {realised / at_one_rate:.0%} of "
        f"which it does"
    )
    if not alone or realised >= _EXPLAINS * at_one_rate:
        return found
    measured_ms, moves_ms = row.median_ms(PLANNED) or 0.0, row.parts.get(parts.MOVES, (0, 0, 0.0))[2]
    if moves_ms >= measured_ms:
        return ""
    without = realised * measured_ms / (measured_ms - moves_ms)
    if without < _EXPLAINS * at_one_rate:
        return ""
    return (
        f"{found}; {moves_ms:.3g} of its {measured_ms:.3g} ms multiply nothing, without which it would be "
        f"{without / at_one_rate:.0%}"
    )
