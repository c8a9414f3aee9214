"""LiteRT's ``benchmark_model``: its command line, and what its builds of all years print.

    count=337 first=2881 curr=2703 min=2605 max=20356 avg=2942.27 std=1190 p5=2647 median=2781 p95=3169
    Inference timings in us: Init: 6395, First inference: 2761, Warmup (avg): 3243.5, Inference (avg): 2942.2

Times are microseconds. A line may begin with ``INFO: `` or with what logcat puts before it. The percentiles
came later; a count of one, or equal times, leave out all but ``curr``. The first such line is the warm-up's.
Of a run's calls only the first and the last are told one by one, so a run of two tells them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tdedge_devices.tools.running import last_words
from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.measure import MeasureOptions

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_PAIR = re.compile(rf"\b(\w+)=({_NUMBER})")
_SESSION = re.compile(rf"Initialized session in ({_NUMBER})\s*ms")
_INIT = re.compile(rf"timings in us:.*?\bInit: ({_NUMBER})")
_FIRST = re.compile(rf"\bFirst inference: ({_NUMBER})")
_FOOTPRINT = re.compile(
    rf"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    rf"init=({_NUMBER}) overall=({_NUMBER})"
)
_MONITORED = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: ({_NUMBER})")
_REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs"
_RUN_ORDER = "== Run Order =="
_INTERNAL = "Delegate internal"
_LOGCAT = re.compile(r"^(?:\d\d-\d\d [\d:.]+\s+\d+\s+\d+ [A-Z] tflite\s*: |INFO: )")

#: The most calls of one process whose times are all told.
MOST_RAW = 2


@dataclass(frozen=True)
class Report:
    """What one run told.

    Attributes:
        calls: how many calls were timed.
        samples_ms: the time of each where it is told, else their mean alone.
        mean_ms: their mean.
        load_ms: time to load the model and prepare it.
        first_ms: the very first inference, in the warm-up; None where an old build does not tell.
        footprint_bytes: memory by name: ``init``, ``overall``, ``monitored``, as far as told.
    """

    calls: int
    samples_ms: tuple[float, ...]
    mean_ms: float
    load_ms: float
    first_ms: float | None
    footprint_bytes: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One line of the profile's table in the order of execution.

    Attributes:
        name: node type.
        average_us: mean over the calls of the model; the table's is of one call of the operator.
        delegated: whether it ran inside a delegate, such as XNNPACK.
        node: its number there.
    """

    name: str
    average_us: float
    delegated: bool
    node: int


def command(
    program: str,
    model: str,
    options: MeasureOptions,
    *,
    calls: int,
    seconds: float = 0.0,
    profile: bool = False,
) -> list[str]:
    """The command line for one run.

    Args:
        program: path on the device.
        model: path of the .tflite file there.
        options: threads and warm-up.
        calls: timed calls, at least.
        seconds: how long to call, at least.
        profile: whether to tell the time of every operator.
    """
    return [
        program,
        f"--graph={model}",
        f"--num_threads={options.threads}",
        f"--num_runs={calls}",
        f"--min_secs={seconds:g}",
        f"--max_secs={max(150.0, 2 * seconds):g}",
        f"--warmup_runs={options.warmup_calls}",
        f"--warmup_min_secs={options.warmup_seconds:g}",
        "--use_xnnpack=true",
        *(["--enable_op_profiling=true"] if profile else []),
    ]


def parse(text: str) -> Report:
    """Read what a run printed.

    Raises:
        RuntimeFailed: it tells no time.
    """
    lines = [_LOGCAT.sub("", line) for line in text.splitlines()]
    counted = [
        {name: float(value) for name, value in _PAIR.findall(line)}
        for line in lines
        if "count=" in line and "curr=" in line and "Timings (microseconds)" not in line
    ]
    if not counted or not counted[-1]["count"]:
        raise RuntimeFailed(f"benchmark_model told no inference time: {last_words(text)}")
    load = _SESSION.search(text)
    init = _INIT.search(text)
    if not load and not init:
        raise RuntimeFailed(f"benchmark_model told no time to load the model: {last_words(text)}")
    first = _FIRST.search(text)
    warm_up, regular = counted[0], counted[-1]
    calls = int(regular["count"])
    mean_us = regular.get("avg", regular["curr"])
    raw = [regular.get("first", regular["curr"]), regular["curr"]][:calls] if calls <= MOST_RAW else [mean_us]
    first_us = float(first[1]) if first else None
    if first_us is None and len(counted) > 1:
        first_us = warm_up.get("first", warm_up["curr"])
    return Report(
        calls=calls,
        samples_ms=tuple(value / 1e3 for value in raw),
        mean_ms=mean_us / 1e3,
        load_ms=float(load[1]) if load else float(init[1]) / 1e3 if init else 0.0,
        first_ms=None if first_us is None else first_us / 1e3,
        footprint_bytes=_footprint(text),
    )


def parse_profile(text: str) -> list[Row]:
    """The operators of ``--enable_op_profiling=true`` in the order of execution.

    A delegate's own line is replaced by those of what it ran, where it tells them.

    Raises:
        RuntimeFailed: there is no such table.
    """
    lines = [_LOGCAT.sub("", line) for line in text.splitlines()]
    begin = max((at for at, line in enumerate(lines) if _REGULAR in line), default=-1)
    if begin < 0:  # an old build: the last table of those of the preparation and of the calls
        begin = max((at for at, line in enumerate(lines) if _RUN_ORDER in line), default=0)
    inside = next((at for at in range(begin, len(lines)) if _INTERNAL in lines[at]), len(lines))
    outer = _table(lines[begin:inside], delegated=False)
    inner = _table(lines[inside:], delegated=True)
    if not outer:
        raise RuntimeFailed(f"benchmark_model told no time of single operators: {last_words(text)}")
    if not inner:
        return outer
    places = [at for at, row in enumerate(outer) if "delegate" in row.name.lower()]
    at = places[0] if places else len(outer)
    kept = [row for index, row in enumerate(outer) if index not in places]
    return kept[:at] + inner + kept[at:]


def _table(lines: list[str], *, delegated: bool) -> list[Row]:
    """The first table in the order of execution."""
    head = next((at for at, line in enumerate(lines) if _RUN_ORDER in line), len(lines))
    rows: list[Row] = []
    columns: list[str] = []
    pattern = re.compile("")
    for line in lines[head + 1 :]:
        if "[node type]" in line:
            columns = re.findall(r"\[([^\]]+)\]", line)
            numbers = rf"({_NUMBER})%?\s+" * (len(columns) - 2)
            pattern = re.compile(rf"\s*(\S.*?)\s+{numbers}(\S.*)")
        elif not columns or "=====" in line:
            if columns:
                break
        elif found := pattern.fullmatch(line.rstrip()):
            values = dict(zip(columns, found.groups(), strict=True))
            number = re.search(r":(\d+)$", values["Name"])
            rows.append(
                Row(
                    name=values["node type"],
                    average_us=float(values["avg ms"]) * 1e3 * max(1.0, float(values["times called"])),
                    delegated=delegated or "Delegate/" in values["Name"],
                    node=int(number[1]) if number else len(rows),
                )
            )
        elif line.strip():
            break
    return rows


def _footprint(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    if footprint := _FOOTPRINT.search(text):
        found |= {"init": float(footprint[1]) * 2**20, "overall": float(footprint[2]) * 2**20}
    if monitored := _MONITORED.search(text):
        found["monitored"] = float(monitored[1]) * 2**20
    return found
