"""What the benchmark must show, from the rows that exist: each gate passes, fails or was not run."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.realisation.accounts import account_of
from benchmarks.realisation.cases import NETWORKS, RUNTIMES
from benchmarks.realisation.rows import ALIGNED, CONV3D, PLAIN, PLANNED, Row
from tdedge.report import numbers

#: Planned against plain: never slower, but for noise.
NEVER_SLOWER = 0.98
#: Medians of the realisation, and what no row goes below without an account of its limit.
MEDIAN_PLAIN, MEDIAN_BEST, LEAST_BEST = 1.0, 0.92, 0.80
#: Median of the realisation with two threads while the cores are near each other.
MEDIAN_NEAR = 0.9
#: Unaligned ranks take at most so much of the time of the next aligned ones.
ALIGNED_WITHIN = 1.05
#: Seconds to plan R3D-18 for the first time.
PLANNING_S = 180.0
#: Seconds to plan any network whose times are known.
AGAIN_S = 10.0
#: So many of its trials were timed for a planning that counts as the first.
_FIRST_TRIALS = 50

PASS, FAIL, NOT_RUN = "PASS", "FAIL", "not run"
Figure = Callable[[Any], float | None]


@dataclass(frozen=True)
class Gate:
    """One requirement.

    Attributes:
        required: as text.
        measured: the worst figure and its row; empty where nothing was run.
        state: PASS, FAIL or "not run".
    """

    name: str
    required: str
    measured: str
    state: str

    def line(self) -> str:
        """The gate as one line."""
        return f"{self.state}: {self.name}: {self.measured}; required {self.required}"


def gates(rows: Sequence[Row], threads: int) -> list[Gate]:
    """Every gate of this number of threads."""
    done = [row for row in rows if not row.error and row.threads == threads]
    made = [*_published(done), *_alignment(done), *_planning(done)] if threads == 1 else []
    made.append(worst("planned over plain, every row", done, _over_own_plain, NEVER_SLOWER))
    full = [row for row in done if row.case.network in NETWORKS]
    return [*made, *(_medians(full) if threads == 1 else _near(full)), failed(rows, threads)]


def _over_plain(row: Row) -> float | None:
    return row.speedup_plain


def _over_best(row: Row) -> float | None:
    return row.speedup_best


def _over_conv3d(row: Row) -> float | None:
    return row.ratio(CONV3D, PLANNED)


def _over_own_plain(row: Row) -> float | None:
    return row.ratio(PLAIN, PLANNED)


def _published(rows: Sequence[Row]) -> Iterator[Gate]:
    def speedup(
        name: str, network: str, fmt: str, rank: str, runtime: str, figure: Figure, least: float
    ) -> Gate:
        wanted = [
            row
            for row in rows
            if (row.case.network, row.case.format, row.case.rank, row.runtime)
            == (network, fmt, rank, runtime)
        ]
        return worst(name, wanted, figure, least)

    thetis = ("thetis", "tucker", "published")
    yield speedup("THETIS, ONNX Runtime, over plain dense", *thetis, "onnxruntime", _over_plain, 9.0)
    yield speedup("THETIS, ONNX Runtime, over best dense", *thetis, "onnxruntime", _over_best, 5.0)
    yield speedup("THETIS, OpenVINO, over plain dense", *thetis, "openvino", _over_plain, 7.5)
    yield speedup("THETIS, LiteRT, over dense CONV_3D", *thetis, "tflite", _over_conv3d, 24.0)
    yield speedup("THETIS, LiteRT, over dense in 2-D forms", *thetis, "tflite", _over_plain, 8.0)
    r3d = "R3D-18, ONNX Runtime"
    yield speedup(
        f"{r3d}, Tucker 1/4, over plain dense", "r3d18", "tucker", "1/4", "onnxruntime", _over_plain, 9.0
    )
    yield speedup(f"{r3d}, KCP 1, over plain dense", "r3d18", "kcp", "1", "onnxruntime", _over_plain, 7.0)
    openvino = [row for row in rows if row.case.network == "r3d18" and row.runtime == "openvino"]
    yield worst("R3D-18, OpenVINO, planned over plain", openvino, _over_own_plain, NEVER_SLOWER)


def _alignment(rows: Sequence[Row]) -> Iterator[Gate]:
    wanted = [row for row in rows if ALIGNED in row.samples_ms and row.runtime == "onnxruntime"]
    figures = [(row.ratio(PLANNED, ALIGNED), row) for row in wanted]
    yield most("unaligned over aligned ranks, ONNX Runtime", figures, ALIGNED_WITHIN, numbers.ratio)


def _planning(rows: Sequence[Row]) -> Iterator[Gate]:
    figures = [
        (row.planning_s, row)
        for row in rows
        if row.case.network == "r3d18" and (row.trials or 0) >= _FIRST_TRIALS
    ]
    yield most("R3D-18, planning for the first time", figures, PLANNING_S, lambda s: f"{s:.0f} s")
    again = [(row.again_s, row) for row in rows]
    yield most("every network, planning for the second time", again, AGAIN_S, lambda s: f"{s:.1f} s")


def _medians(rows: Sequence[Row]) -> Iterator[Gate]:
    for runtime in RUNTIMES:
        mine = [row for row in rows if row.runtime == runtime]
        name = f"realisation over plain dense, {runtime}"
        if any(row.export == CONV3D for row in mine):
            name += " (clips: CONV_3D)"
        yield _median(name, mine, lambda row: row.realisation_of_export, MEDIAN_PLAIN)
        yield _median(
            f"realisation over best dense, {runtime}", mine, lambda row: row.realisation_best, MEDIAN_BEST
        )
    yield _accounted(rows)


def _median(name: str, rows: Sequence[Row], figure: Figure, least: float) -> Gate:
    """The median of the rows; beside it that of the networks' own, as some have more rows than others."""
    gate, each = median(name, rows, figure, least), of_networks(rows, figure)
    if len(each) < 2:
        return gate
    middle = statistics.median(each.values())
    return replace(gate, measured=f"{gate.measured}; {middle:.2f} of {len(each)} networks")


def _near(rows: Sequence[Row]) -> Iterator[Gate]:
    near = [row for row in rows if row.mode == "near" and row.quiet]
    yield median("realisation over plain dense, cores near", near, lambda row: row.realisation, MEDIAN_NEAR)


def _accounted(rows: Sequence[Row]) -> Gate:
    name = "realisation over best dense, rows without an account of their limit"
    required = f"at least {LEAST_BEST:.2f}"
    if not rows:
        return Gate(name, required, "", NOT_RUN)
    low = [row for row in rows if (row.realisation_best or 0.0) < LEAST_BEST]
    open_rows = [row for row in low if not account_of(row)]
    if not open_rows:
        return Gate(name, required, f"{len(low)} of {len(rows)} rows below, all accounted for", PASS)
    worst = min(open_rows, key=lambda row: row.realisation_best or 0.0)
    figure = f"{worst.realisation_best or 0.0:.2f} ({worst.name}); {len(open_rows)} of {len(rows)} rows"
    return Gate(name, required, figure, FAIL)


def failed(rows: Sequence[Any], threads: int) -> Gate:
    """Rows that have no measurement."""
    name = "rows that could be measured"
    mine = [row for row in rows if row.threads == threads]
    broken = [row for row in mine if row.error]
    if not mine:
        return Gate(name, "all", "", NOT_RUN)
    state = FAIL if broken else PASS
    return Gate(name, "all", f"{len(mine) - len(broken)} of {len(mine)}", state)


def worst(
    name: str,
    rows: Sequence[Any],
    figure: Figure,
    least: float,
    text: Callable[[float], str] = numbers.ratio,
) -> Gate:
    """The smallest figure of the rows that have one."""
    figures = [(value, row) for row in rows if (value := figure(row)) is not None]
    required = f"at least {text(least)}"
    if not figures:
        return Gate(name, required, "", NOT_RUN)
    value, row = min(figures, key=lambda pair: pair[0])
    return Gate(name, required, f"{text(value)} ({row.name})", PASS if value >= least else FAIL)


def most(
    name: str, figures: Sequence[tuple[float | None, Any]], limit: float, text: Callable[[float], str]
) -> Gate:
    """The largest figure."""
    known = [(value, row) for value, row in figures if value is not None]
    required = f"at most {text(limit)}"
    if not known:
        return Gate(name, required, "", NOT_RUN)
    value, row = max(known, key=lambda pair: pair[0])
    return Gate(name, required, f"{text(value)} ({row.name})", PASS if value <= limit else FAIL)


def of_networks(rows: Sequence[Any], figure: Figure) -> dict[str, float]:
    """Network -> the median of its rows that have a figure."""
    figures: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if (value := figure(row)) is not None:
            figures[row.case.network].append(value)
    return {network: statistics.median(values) for network, values in figures.items()}


def median(name: str, rows: Sequence[Any], figure: Figure, least: float) -> Gate:
    """The median of the rows that have a figure."""
    values = [value for row in rows if (value := figure(row)) is not None]
    required = f"median at least {least:.2f}"
    if not values:
        return Gate(name, required, "", NOT_RUN)
    middle = statistics.median(values)
    return Gate(name, required, f"{middle:.2f} of {len(values)} rows", PASS if middle >= least else FAIL)
