"""The rows as Markdown: one table per runtime, with two threads one per runtime and mode of the machine."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.realisation.accounts import account_of
from benchmarks.realisation.cases import RUNTIMES
from benchmarks.realisation.gates import LEAST_BEST, Gate
from benchmarks.realisation.rows import ALIGNED, CONV3D, LABELS, PLAIN, PLANNED, PLANNED_DENSE, Row
from tdedge.report import numbers

TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tflite": "LiteRT"}
_MODES = ("", "near", "far", "mixed")
_HEAD = (
    "network", "format", "rank", "MACs", "plain dense", "best dense", "plain", "planned", "speed-up",
    "95 % interval", "plain realises", "planned realises", "against best dense", "sgemm peak", "own memory",
    "first layer", "forms", "planning", "parity",
)  # fmt: skip
#: Beside them where a row has them.
_CONV3D_HEAD = ("CONV_3D dense", "realises of that")
_TEXT_COLUMNS = 3


def markdown(rows: Sequence[Row], gates: Sequence[Gate]) -> str:
    """All tables: the gates, the rows, what else was timed, and what failed."""
    lines = ["| gate | required | measured | result |", "|---|---|---|---|"]
    lines += [f"| {gate.name} | {gate.required} | {gate.measured or '-'} | {gate.state} |" for gate in gates]
    done = [row for row in rows if not row.error]
    for runtime in RUNTIMES:
        for mode in _MODES:
            mine = [row for row in done if row.runtime == runtime and row.mode == mode]
            if mine:
                lines += ["", f"## {TITLES[runtime]}{_mode_text(mode)}", "", *_table(mine)]
    lines += [*_beside(done), *_accounts(done), *noisy_rows(done), *broken_rows(rows)]
    return "\n".join(lines) + "\n"


def _mode_text(mode: str) -> str:
    return {"": "", "mixed": ", cores near or far by turns"}.get(mode, f", cores {mode}")


def _table(rows: Sequence[Row]) -> Iterator[str]:
    clips = [row for row in rows if row.export == CONV3D]
    head = (*_HEAD, *(_CONV3D_HEAD if clips else ()))
    yield line(head)
    yield "|---" * _TEXT_COLUMNS + "|---:" * (len(head) - _TEXT_COLUMNS) + "|"
    for row in rows:
        yield line([*_cells(row), *(_conv3d_cells(row) if clips else ())])
    summary = {
        "plain realises": [row.realisation_of_plain for row in rows],
        "planned realises": [row.realisation for row in rows],
        "against best dense": [row.realisation_best for row in rows],
        **({_CONV3D_HEAD[1]: [row.realisation_of_export for row in clips]} if clips else {}),
    }
    cells = ["median", *[""] * (len(head) - 1)]
    for name, values in summary.items():
        known = [value for value in values if value is not None]
        cells[head.index(name)] = f"**{statistics.median(known):.2f}**" if known else "-"
    yield line(cells)


def _conv3d_cells(row: Row) -> list[str]:
    if row.export != CONV3D:
        return ["-", "-"]
    return [numbers.milliseconds(row.median_ms(CONV3D)), _two(row.realisation_of_export)]


def _cells(row: Row) -> list[str]:
    interval = row.interval(LABELS[0], PLANNED)
    share = row.first_layer_share
    best = row.best_dense
    return [
        row.case.network,
        row.case.format,
        row.case.rank,
        numbers.ratio(row.mac_ratio),
        numbers.milliseconds(row.median_ms(LABELS[0])),
        numbers.milliseconds(row.median_ms(best)) + ("" if best == PLANNED_DENSE else " (plain)"),
        numbers.milliseconds(row.median_ms(PLAIN)),
        numbers.milliseconds(row.median_ms(PLANNED)),
        numbers.ratio(row.speedup_plain),
        f"{interval.low:.2f} to {interval.high:.2f}" if interval else "-",
        _two(row.realisation_of_plain),
        _two(row.realisation),
        _two(row.realisation_best),
        f"{row.peak_share:.0%}" if row.peak_share else "-",
        numbers.mebibytes(row.own_memory_bytes),
        f"{share[0]:.0%} to {share[1]:.0%}" if share else "-",
        _forms(row.forms),
        "-" if row.planning_s is None else f"{row.planning_s:.0f} s, {row.trials} timed",
        numbers.error(row.parity),
    ]


def _forms(forms: Mapping[str, int]) -> str:
    whole = [form for form, count in sorted(forms.items()) if not count]
    parts = [f"{count} {form}" for form, count in sorted(forms.items()) if count]
    return ", ".join((parts or ["plain"]) + whole)


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _beside(rows: Sequence[Row]) -> Iterator[str]:
    """Files that were timed beside the four of a row."""
    texts = {
        ALIGNED: "the next aligned ranks, planned, take {other}: unaligned ones take {under} of that",
    }
    found = []
    for row in rows:
        for label, text in texts.items():
            if label in row.samples_ms:
                filled = text.format(
                    other=numbers.milliseconds(row.median_ms(label)),
                    under=numbers.ratio(row.ratio(PLANNED, label)),
                )
                found.append(f"- {row.name}: {filled}.")
    if found:
        yield from ("", "In the same runs:", "", *found)


def _accounts(rows: Sequence[Row]) -> Iterator[str]:
    low = [row for row in rows if (row.realisation_best or 0.0) < LEAST_BEST]
    if low:
        yield from ("", f"Rows that realise less than {LEAST_BEST:.2f} against the best dense network:", "")
        for row in low:
            account = account_of(row) or "no account yet"
            yield f"- {row.name} ({_two(row.realisation_best)}): {account}."


def noisy_rows(rows: Sequence[Any]) -> Iterator[str]:
    """Which rows other processes disturbed."""
    noisy = [row.name for row in rows if not row.quiet]
    if noisy:
        yield from ("", f"Other processes used more than 6 % of the CPU during: {', '.join(noisy)}.")


def broken_rows(rows: Sequence[Any]) -> Iterator[str]:
    """Which rows have no measurement, and why."""
    broken = [row for row in rows if row.error]
    if broken:
        yield from ("", "Not measured:", "", *(f"- {row.name}: {row.error}" for row in broken))


def line(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
