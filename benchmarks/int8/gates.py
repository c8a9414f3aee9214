"""What the benchmark must show, from the rows that exist: each gate passes, fails or was not run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from benchmarks.int8.cases import SQNR_DB
from benchmarks.int8.rows import NOT_EQUALISED, Row
from benchmarks.realisation.cases import NETWORKS, RUNTIMES
from benchmarks.realisation.gates import FAIL, NOT_RUN, PASS, Gate, failed, median, of_networks, worst

#: Int8 over the planned float32 network, median of the networks in a runtime.
FASTER = {"onnxruntime": 2.0, "tflite": 2.0}
#: What equalisation adds to it, median of the networks that were trained.
EQUALISATION_DB = 3.0
#: R3D-18, Tucker 1/4: dense float32 export over int8.
R3D18 = {"onnxruntime": 22.0, "openvino": 23.0}


def decibels(value: float) -> str:
    """A ratio for people."""
    return f"{value:.1f} dB"


def gates(rows: Sequence[Row], threads: int) -> list[Gate]:
    """Every gate of this number of threads."""
    done = [row for row in rows if not row.error and row.threads == threads]
    return [*_speed(done), *_quality(done), *_graphs(done), _networks(done), failed(rows, threads)]


def _speed(rows: Sequence[Row]) -> Iterator[Gate]:
    published = [row for row in rows if row.case.network in NETWORKS]
    for runtime, least in FASTER.items():
        mine = [row for row in published if row.runtime == runtime]
        name = f"int8 over planned float32, {runtime}"
        yield _of_networks(f"{name}, all on integers", mine, lambda row: row.speedup, least)
        gate = _of_networks(f"{name}, at the ratio asked for", mine, lambda row: row.speedup_strict, least)
        yield _whole(gate, mine)
    for runtime, least in R3D18.items():
        mine = [row for row in rows if row.name == f"r3d18 tucker 1/4 {runtime}"]
        name = f"R3D-18, Tucker 1/4, int8 over dense float32, {runtime}"
        yield worst(name, mine, lambda row: row.speedup_dense, least)


def _of_networks(name: str, rows: Sequence[Row], figure: Callable[[Row], float | None], least: float) -> Gate:
    """The median of the networks, each with the median of its rows: more formats of one weigh no more."""
    required = f"median of networks at least {least:.2f}"
    each = of_networks(rows, figure)
    if not each:
        return Gate(name, required, "", NOT_RUN)
    middle = statistics.median(each.values())
    listed = ", ".join(f"{network} {value:.2f}" for network, value in each.items())
    return Gate(name, required, f"{middle:.2f} ({listed})", PASS if middle >= least else FAIL)


def _quality(rows: Sequence[Row]) -> Iterator[Gate]:
    for axes, least in SQNR_DB.items():
        mine = [row for row in rows if row.axes == axes]
        name = f"signal-to-noise ratio, {axes}-D networks"
        yield _every(f"{name}, all on integers", [(row, row.sqnr_db()) for row in mine], least)
        strict = [(row, row.sqnr_db(row.strict)) for row in mine if row.strict in row.samples_ms]
        yield _whole(_every(f"{name}, float32 where needed", strict, least), mine)
    trained = [row for row in rows if row.is_trained]
    yield median(
        "equalisation adds, trained networks, dB",
        trained,
        lambda row: row.gain_db(NOT_EQUALISED),
        EQUALISATION_DB,
    )


def _whole(gate: Gate, rows: Sequence[Row]) -> Gate:
    """A gate of files that have the ratio asked for: rows that need one and lack it keep it from passing."""
    lacking = [row.name for row in rows if row.strict not in row.samples_ms]
    if not lacking or gate.state == NOT_RUN:
        return gate
    measured = f"{gate.measured}; not measured: {', '.join(lacking)}"
    return replace(gate, measured=measured, state=NOT_RUN if gate.state == PASS else gate.state)


def _every(name: str, ratios: Sequence[tuple[Row, float | None]], least: float) -> Gate:
    """No row below; all that are, are named."""
    required = f"at least {decibels(least)}, every row"
    known = [(value, row) for row, value in ratios if value is not None]
    if not known:
        return Gate(name, required, "", NOT_RUN)
    low = sorted((value, row.name) for value, row in known if value < least)
    if not low:
        smallest, row = min(known, key=lambda pair: pair[0])
        return Gate(name, required, f"{decibels(smallest)} ({row.name})", PASS)
    listed = ", ".join(f"{text} {decibels(value)}" for value, text in low)
    return Gate(name, required, f"{len(low)} of {len(known)} below: {listed}", FAIL)


def _graphs(rows: Sequence[Row]) -> Iterator[Gate]:
    counted = [(row.operators, row) for row in rows if row.operators is not None]
    lite = [(ops.partitions, row) for ops, row in counted if ops.partitions is not None]
    yield _all_equal("one XNNPACK partition", "1 partition, every row", lite, 1)
    inner = [(ops.islands, row) for ops, row in counted if ops.islands is not None]
    yield _all_equal("no float32 islands", "0 islands, every row", inner, 0)
    found = [(ops.dynamic, row) for ops, row in counted]
    yield _all_equal("no dynamically quantised operators", "0 operators, every row", found, 0)


def _networks(rows: Sequence[Row]) -> Gate:
    """Which networks of the realisation benchmark have rows in every runtime."""
    measured = {(row.case.network, row.runtime) for row in rows}
    lacking = [name for name in NETWORKS if any((name, runtime) not in measured for runtime in RUNTIMES)]
    text = f"{len(NETWORKS) - len(lacking)} of {len(NETWORKS)}"
    if lacking:
        text += f"; not in all: {', '.join(lacking)}"
    required = "all of the realisation benchmark"
    return Gate("networks with rows in every runtime", required, text, NOT_RUN if lacking else PASS)


def _all_equal(name: str, required: str, counts: Sequence[tuple[int, Row]], wanted: int) -> Gate:
    if not counts:
        return Gate(name, required, "", NOT_RUN)
    other = [f"{row.name} {count}" for count, row in counts if count != wanted]
    if not other:
        return Gate(name, required, f"{wanted} in {len(counts)} rows", PASS)
    return Gate(name, required, f"{len(other)} of {len(counts)} rows: {', '.join(other)}", FAIL)
