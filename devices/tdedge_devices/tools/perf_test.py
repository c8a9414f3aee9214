"""ONNX Runtime's ``onnxruntime_perf_test``: its command line, what it prints, and its file of single times.

    Session creation time cost: 0.0102016 s
    First inference time cost: 2 ms
    Average inference time cost: 1.85739 ms
    Peak working set size: 36696064 bytes
    Min Latency: 0.00183404 s

Forks of vendors leave out the first inference, or say "Total CPU usage"; builds of 2025 say "Average
inference time cost total". The file has a line per call, ``NAME,SECONDS,PEAK,CPU,NUMBER``, or one more time
before PEAK, until the result is there; then, after an empty line, statistics. The calls begin cold: the
warm-up is the first of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tdedge_devices.tools.running import last_words
from tdedge_runtimes.errors import RuntimeFailed

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_FIELDS = 5
_SESSION = re.compile(rf"Session creation time cost:\s*({_NUMBER})\s*s\b")
_FIRST = re.compile(rf"First inference time cost:\s*({_NUMBER})\s*ms\b")
_AVERAGE = re.compile(rf"Average (?:inference )?time cost(?: total)?:\s*({_NUMBER})\s*ms\b")
_REQUESTS = re.compile(r"Total (?:inference requests|iterations):\s*(\d+)")
_RUN_TIME = re.compile(rf"Total (?:inference )?run time:\s*({_NUMBER})\s*s\b")
_PEAK = re.compile(r"Peak working set size:\s*(\d+)")
_LATENCY = re.compile(rf"\b(Min|Max|P50|P90|P95|P99|P999) Latency(?::| is)\s*({_NUMBER})\s*s")


@dataclass(frozen=True)
class Report:
    """What one run told.

    Attributes:
        calls: how many calls were timed, where told.
        mean_ms: their mean.
        load_ms: time to create the session.
        first_ms: the very first inference, before those that are timed, in whole milliseconds; None where it
            took less than one, or a fork does not tell.
        run_time_s: time of all calls together; None where not told.
        peak_bytes: largest resident set; None where not told.
        latency_ms: "Min", "Max", "P50", "P90", "P95", "P99", "P999", as far as told.
    """

    calls: int | None
    mean_ms: float
    load_ms: float
    first_ms: float | None
    run_time_s: float | None
    peak_bytes: int | None
    latency_ms: Mapping[str, float]


def command(
    program: str,
    model: str,
    results: str,
    *,
    threads: int,
    calls: int = 0,
    seconds: int = 0,
    profile: str = "",
) -> list[str]:
    """The command line for one run.

    Args:
        program: path on the device.
        model: path of the .onnx or .ort file there.
        results: path there of the file of single times.
        threads: threads of one inference.
        calls: all calls, those of the warm-up among them.
        seconds: how long to call where ``calls`` is 0.
        profile: what the path of the profile begins with; none is written where empty.
    """
    how = ["-m", "times", "-r", str(calls)] if calls else ["-m", "duration", "-t", str(seconds)]
    told = ["-p", profile] if profile else []
    return [program, "-e", "cpu", *how, "-x", str(threads), "-s", "-I", *told, model, results]


def parse(text: str) -> Report:
    """Read what a run printed.

    Raises:
        RuntimeFailed: it tells no time.
    """
    average, load = _AVERAGE.search(text), _SESSION.search(text)
    if not average or not load:
        raise RuntimeFailed(f"onnxruntime_perf_test told no inference time: {last_words(text)}")
    first, peak = _FIRST.search(text), _PEAK.search(text)
    calls, run_time = _REQUESTS.search(text), _RUN_TIME.search(text)
    return Report(
        calls=int(calls[1]) if calls else None,
        mean_ms=float(average[1]),
        load_ms=float(load[1]) * 1e3,
        first_ms=float(first[1]) if first and float(first[1]) else None,
        run_time_s=float(run_time[1]) if run_time else None,
        peak_bytes=int(peak[1]) if peak else None,
        latency_ms={name: float(value) * 1e3 for name, value in _LATENCY.findall(text)},
    )


def parse_results(text: str, calls: int) -> list[float]:
    """The time of every call in milliseconds, from the file of single times.

    Raises:
        RuntimeFailed: it has other lines, or fewer than ``calls``.
    """
    times_ms = []
    for line in text.splitlines():
        if not line.strip():
            break
        fields = line.split(",")
        if len(fields) < _FIELDS or not re.fullmatch(_NUMBER, fields[-4].strip()):
            raise RuntimeFailed(
                f"onnxruntime_perf_test wrote {line.strip()!r:.80}; expected NAME,SECONDS,..."
            )
        times_ms.append(float(fields[-4]) * 1e3)
    if len(times_ms) < calls:
        raise RuntimeFailed(f"onnxruntime_perf_test wrote {len(times_ms)} times; expected {calls}")
    return times_ms
