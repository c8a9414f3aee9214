"""Latency over minutes: inference without a pause, to show what a warm device can keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tdedge_devices import throttling
from tdedge_devices.conditions import Conditions
from tdedge_devices.cooling import Gate

#: A job lasts this long at most: what a lost connection costs, and how often conditions are read.
CHUNK_S = 60.0

Load = Callable[[float], dict[str, Any]]


def measure(
    load: Load, seconds: float, gate: Gate, read: Callable[[], Conditions], say: Callable[[str], object]
) -> dict[str, Any]:
    """The curve of one model.

    Args:
        load: does a load job of so many seconds.
        seconds: length of the curve.
        gate: how it came to begin.
        read: the conditions of the device.
        say: is told of every stretch.

    Returns:
        JSON values: ``points`` (about one a second: ``at_s``, ``median_ms``, ``p90_ms``), ``stretches`` (one
        a job: conditions after it and why the device was slowed down), first and last tenth and their ratio.
    """
    points: list[dict[str, float]] = []
    stretches: list[dict[str, Any]] = []
    conditions, begun_ns, done_s = gate.conditions, None, 0.0
    kind = "measured"
    while done_s < seconds:
        wanted = min(CHUNK_S, seconds - done_s)
        result = load(wanted)
        one = result["load"]
        kind = one["latency"]["kind"]
        before, conditions = conditions, read()
        if begun_ns is None or one["begin_ns"] < begun_ns:  # the first; or the device was started again
            begun_ns = one["begin_ns"] - round(done_s * 1e9)
        begin_s = (one["begin_ns"] - begun_ns) * 1e-9
        span_s = (one["end_ns"] - one["begin_ns"]) * 1e-9
        points += _points(one["samples_ms"], begin_s, span_s)
        stretches.append(
            {
                "begin_s": begin_s,
                "end_s": begin_s + span_s,
                "inferences": one["inferences"],
                "celsius": conditions.celsius,
                "frequency_mhz": conditions.frequency_mhz,
                "throttled": throttling.reasons(before, conditions),
            }
        )
        done_s = begin_s + span_s
        say(f"sustained: {done_s:.0f} of {seconds:.0f} s")
        if seconds - done_s < 1.0:
            break
    return {"kind": kind, "complete": True, "gate": gate.to_json(), **summary(points), "stretches": stretches}


def summary(points: list[dict[str, float]]) -> dict[str, Any]:
    """The points and how the last tenth of them compares with the first."""
    tenth = max(1, len(points) // 10)
    first = float(np.median([point["median_ms"] for point in points[:tenth]]))
    last = float(np.median([point["median_ms"] for point in points[-tenth:]]))
    return {"first_ms": first, "last_ms": last, "slowdown": last / first, "points": points}


def _points(rows: list[list[float]], begin_s: float, span_s: float) -> list[dict[str, float]]:
    """A point per row of samples; its place in time from the time the rows took."""
    spent = np.array([sum(row) for row in rows])
    ends = begin_s + span_s * np.cumsum(spent) / max(float(spent.sum()), 1e-12)
    return [
        {
            "at_s": round(float(end), 3),
            "median_ms": float(np.median(row)),
            "p90_ms": float(np.percentile(row, 90)),
        }
        for end, row in zip(ends, rows, strict=True)
    ]


def unavailable(reason: str) -> Mapping[str, Any]:
    """What stands in the place of a curve that cannot be made."""
    return {"complete": False, "reason": reason, "points": []}
