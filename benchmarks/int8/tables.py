"""The rows as Markdown: one table per runtime, then peers, what stayed float32, and what failed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from benchmarks.int8.rows import (
    DENSE,
    DENSE_INT8,
    FLOAT_PLAN,
    INT8,
    MIN_MAX,
    NOT_EQUALISED,
    PLANNED,
    STRICT,
    UNPLANNED,
    Row,
)
from benchmarks.realisation.cases import RUNTIMES
from benchmarks.realisation.gates import Gate
from benchmarks.realisation.tables import TITLES, broken_rows, line, noisy_rows
from tdedge.report import numbers

_TEXT_COLUMNS = 3
Column = tuple[str, Callable[[Row], str]]


def _decibels(label: str) -> Callable[[Row], str]:
    return lambda row: "-" if (value := row.sqnr_db(label)) is None else f"{value:.1f}"


def _latency(label: str) -> Callable[[Row], str]:
    return lambda row: numbers.milliseconds(row.median_ms(label))


def _over(label: str) -> Callable[[Row], str]:
    return lambda row: numbers.ratio(row.ratio(label, INT8))


def _interval(label: str, of: str = PLANNED) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        found = row.interval(of, label)
        return f"{found.low:.2f} to {found.high:.2f}" if found else "-"

    return cell


def _integers(row: Row) -> str:
    ops = row.operators
    return "-" if ops is None else f"{ops.share:.0%} of {ops.integer + ops.floating}"


def _partitions(row: Row) -> str:
    ops = row.operators
    return "-" if ops is None or ops.partitions is None else str(ops.partitions)


_COLUMNS: tuple[Column, ...] = (
    ("network", lambda row: row.case.network),
    ("format", lambda row: row.case.format),
    ("rank", lambda row: row.case.rank),
    ("MACs", lambda row: numbers.ratio(row.mac_ratio)),
    ("dense", _latency(DENSE)),
    ("dense int8", _latency(DENSE_INT8)),
    ("planned", _latency(PLANNED)),
    ("int8", _latency(INT8)),
    ("over planned", _over(PLANNED)),
    ("95 % interval", _interval(INT8)),
    ("over dense", _over(DENSE)),
    ("over dense int8", _over(DENSE_INT8)),
    ("over float plan", _over(FLOAT_PLAN)),
    ("over not planned", _over(UNPLANNED)),
    ("SQNR dB", _decibels(INT8)),
    ("not equalised", _decibels(NOT_EQUALISED)),
    ("min-max", _decibels(MIN_MAX)),
    ("dense int8 dB", _decibels(DENSE_INT8)),
    ("same class", lambda row: f"{row.quality[INT8].agreement:.0%}" if INT8 in row.quality else "-"),
    ("smaller", lambda row: numbers.ratio(row.smaller())),
    ("on integers", _integers),
    ("kept", lambda row: str(len(row.kept))),
    ("partitions", _partitions),
)
_MEDIANS: dict[str, Callable[[Row], float | None]] = {
    "over planned": lambda row: row.speedup,
    "over dense": lambda row: row.speedup_dense,
    "over dense int8": lambda row: row.ratio(DENSE_INT8, INT8),
    "over float plan": lambda row: row.ratio(FLOAT_PLAN, INT8),
    "over not planned": lambda row: row.ratio(UNPLANNED, INT8),
    "smaller": lambda row: row.smaller(),
}


def _float_products(row: Row) -> str:
    ops = row.operators_strict
    return "-" if ops is None else f"{ops.floating} of {ops.integer + ops.floating}"


_STRICT_COLUMNS: tuple[Column, ...] = (
    ("row", lambda row: row.name),
    ("asked for", lambda row: f"{row.least_db:.0f} dB"),
    ("SQNR dB", _decibels(STRICT)),
    ("in float32", _float_products),
    ("latency", _latency(STRICT)),
    ("over planned", lambda row: numbers.ratio(row.speedup_strict)),
    ("95 % interval", _interval(STRICT)),
    ("over dense", lambda row: numbers.ratio(row.ratio(DENSE, STRICT))),
    ("all on integers: SQNR dB", _decibels(INT8)),
    ("over planned", _over(PLANNED)),
)


def markdown(rows: Sequence[Row], gates: Sequence[Gate]) -> str:
    """All tables: the gates, the rows, the peers, what stayed float32, and what failed."""
    lines = [line(("gate", "required", "measured", "result")), "|---|---|---|---|"]
    lines += [line((gate.name, gate.required, gate.measured or "-", gate.state)) for gate in gates]
    done = [row for row in rows if not row.error]
    for runtime in RUNTIMES:
        mine = [row for row in done if row.runtime == runtime]
        if mine:
            lines += ["", f"## {TITLES[runtime]}", "", *_table(mine)]
    lines += [
        *_strict(done),
        *_peers(done),
        *_kept(done),
        *_notes(done),
        *noisy_rows(done),
        *broken_rows(rows),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    head = [name for name, _ in _COLUMNS]
    yield line(head)
    yield "|---" * _TEXT_COLUMNS + "|---:" * (len(head) - _TEXT_COLUMNS) + "|"
    for row in rows:
        yield line([cell(row) for _, cell in _COLUMNS])
    cells = ["median", *[""] * (len(head) - 1)]
    for name, figure in _MEDIANS.items():
        known = [value for row in rows if (value := figure(row)) is not None]
        cells[head.index(name)] = f"**{numbers.ratio(statistics.median(known))}**" if known else "-"
    yield line(cells)


def _strict(rows: Sequence[Row]) -> Iterator[str]:
    """Files with as many products in float32 as the ratio that is asked for needs."""
    found = [row for row in rows if STRICT in row.samples_ms]
    if not found:
        return
    head = [name for name, _ in _STRICT_COLUMNS]
    yield from ("", "## At the ratio that is asked for", "", line(head), "|---|" + "---:|" * (len(head) - 1))
    for row in found:
        yield line([cell(row) for _, cell in _STRICT_COLUMNS])


def _peers(rows: Sequence[Row]) -> Iterator[str]:
    """Integer files of others, in the same runs, on the same samples."""
    found = [(row, name) for row in rows for name in row.peers]
    if not found:
        return
    head = ("row", "peer", "latency", "int8 is faster", "95 % interval", "SQNR dB", "ours", "note")
    yield from ("", "## Peers", "", line(head), "|---|---|---:|---:|---:|---:|---:|---|")
    for row, name in found:
        yield line(
            (
                row.name,
                name,
                _latency(name)(row),
                _over(name)(row),
                _interval(INT8, name)(row),
                _decibels(name)(row),
                _decibels(INT8)(row),
                row.notes.get(name, ""),
            )
        )


def _kept(rows: Sequence[Row]) -> Iterator[str]:
    kept = [(row, name, why) for row in rows for name, why in row.kept.items()]
    if kept:
        yield from ("", "Products that stay float32:", "")
        yield from (f"- {row.name}: {name}, {why}." for row, name, why in kept)


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    notes = [(row, label, why) for row in rows for label, why in row.notes.items() if label not in row.peers]
    if notes:
        yield from ("", "Files that are missing:", "")
        yield from (f"- {row.name}, {label}: {why}" for row, label, why in notes)
