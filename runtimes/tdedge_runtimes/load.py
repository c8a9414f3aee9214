"""Inference without a pause: what the processor does while energy is measured, or for half an hour.

The calls follow each other at once. They are grouped into rows of equal count, each about a second (or a
tenth of the whole); of very short calls only every n-th is timed, so that a row has at most a thousand
samples. All calls count as inferences.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from tdedge_runtimes.figures import Figure, measured
from tdedge_runtimes.foreign_cpu import foreign_share, read_cpu_times
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.statistics import summarise_ms

_ROW_SECONDS = 1.0
_ROW_SAMPLES = 1000


def make_load(
    call: Callable[[], object], options: MeasureOptions, seconds: float, min_inferences: int
) -> tuple[dict[str, Any], Figure]:
    """Run inference for a while.

    Args:
        call: One inference.
        options: How long to warm up; confidence, draws and seed of the interval.
        seconds: How long at least.
        min_inferences: How many inferences at least.

    Returns:
        The load: ``begin_ns`` and ``end_ns`` (``time.monotonic_ns``), ``inferences``, ``latency``,
        ``samples_ms`` and ``foreign_cpu``; and the very first inference.
    """
    start = time.perf_counter_ns()
    call()
    first = (time.perf_counter_ns() - start) / 1e6
    each_s = _warm_up(call, options)
    calls = max(1, round(min(_ROW_SECONDS, seconds / 10) / each_s))
    stride = -(-calls // _ROW_SAMPLES)
    length = calls // stride
    rows: list[list[float]] = []
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        before, begin = read_cpu_times(), time.monotonic_ns()
        end, made = begin, 0
        while end - begin < seconds * 1e9 or made < min_inferences or len(rows) < 2:
            rows.append(_row_ms(call, length, stride))
            made += length * stride
            end = time.monotonic_ns()
        after = read_cpu_times()
    finally:
        if collecting:
            gc.enable()
    statistics = summarise_ms(
        rows, confidence=options.confidence, resamples=options.resamples, seed=options.seed
    )
    timed = "every call" if stride == 1 else f"one call in {stride}"
    load = {
        "begin_ns": begin,
        "end_ns": end,
        "inferences": made,
        "latency": {"kind": "measured", "method": f"without a pause, {timed} timed", **statistics},
        "samples_ms": rows,
        "foreign_cpu": foreign_share(before, after),
    }
    return load, measured(first, "ms")


def _warm_up(call: Callable[[], object], options: MeasureOptions) -> float:
    """Seconds of one call."""
    start, made, took = time.perf_counter(), 0, 0.0
    while made < options.warmup_calls or took < options.warmup_seconds:
        call()
        made += 1
        took = time.perf_counter() - start
    return max(took / made, 1e-9)


def _row_ms(call: Callable[[], object], length: int, stride: int) -> list[float]:
    row = []
    for _ in range(length):
        for _ in range(stride - 1):
            call()
        start = time.perf_counter_ns()
        call()
        row.append((time.perf_counter_ns() - start) / 1e6)
    return row
