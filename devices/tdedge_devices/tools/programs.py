"""The two programs as one thing: a block of timed calls, memory, operators, or a load, of one model."""

from __future__ import annotations

import contextlib
import math
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tdedge.errors import DeviceError
from tdedge_devices.shell import Shell
from tdedge_devices.tools import benchmark_model, perf_test
from tdedge_devices.tools.running import ToolRun, last_words, run_tool
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError
from tdedge_runtimes.foreign_cpu import CpuTimes
from tdedge_runtimes.measure import MeasureOptions

_MOST_WARM_UP_CALLS = 1000
_MEMORY_S = 1
_SHORT_SHARE = 0.1  # of the time of a load of benchmark_model, for the process before it
_MARK = "@uptime"
_UPTIME = re.compile(rf"^{_MARK} ([\d.]+)", re.MULTILINE)
_ROW_S = 1.0


@dataclass(frozen=True)
class Place:
    """Where a program and a model lie on a device.

    Attributes:
        shell: the way there.
        program: the program's path there.
        scratch: a folder there for what a run writes.
        end_s: when the job has to be done, on the clock ``time.monotonic``.
    """

    shell: Shell
    program: str
    scratch: str
    end_s: float


@dataclass(frozen=True)
class Block:
    """Timed calls of one process.

    Attributes:
        samples_ms: one time each.
        calls_per_sample: calls a sample is the mean of.
        load_ms: time to load the model.
        first_ms: the very first inference; None where it is not told.
        cpu: processor times before and after.
        memory_bytes: see ``ToolRun``.
    """

    samples_ms: tuple[float, ...]
    load_ms: float
    first_ms: float | None
    cpu: tuple[CpuTimes, CpuTimes]
    calls_per_sample: int = 1
    memory_bytes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """Inference without a pause.

    Attributes:
        begin_s: when it began, on the device's ``/proc/uptime``.
        end_s: when it ended.
        inferences: calls in between.
        rows_ms: samples, in rows.
        method: what these are.
        first_ms: the very first inference; None where it is not told.
        load_ms: time to load the model.
        cpu: processor times before and after.
    """

    begin_s: float
    end_s: float
    inferences: int
    rows_ms: list[list[float]]
    method: str
    first_ms: float | None
    load_ms: float
    cpu: tuple[CpuTimes, CpuTimes]


class Program(Protocol):
    """A benchmark program of one runtime."""

    name: str
    runtime: str
    suffixes: tuple[str, ...]
    method: str

    def block(self, place: Place, model: str, options: MeasureOptions) -> Block:
        """One process with the timed calls of a block, after its warm-up."""
        ...

    def memory(self, place: Place, model: str, options: MeasureOptions, calls: int) -> Block:
        """One process whose memory is watched."""
        ...

    def profile(
        self, place: Place, model: str, options: MeasureOptions, calls: int
    ) -> list[benchmark_model.Row]:
        """The operators of one process."""
        ...

    def load(self, place: Place, model: str, options: MeasureOptions, seconds: float, least: int) -> Load:
        """Inference for a while."""
        ...


class BenchmarkModel:
    """LiteRT's program."""

    name = "benchmark_model"
    runtime = "tflite"
    suffixes: tuple[str, ...] = (".tflite",)
    method = (
        "benchmark_model, a fresh process per block and model, in turn; each warmed up by itself; its own "
        "random inputs; of more than 2 calls per process it tells only their mean, which then is the sample"
    )

    def block(self, place: Place, model: str, options: MeasureOptions) -> Block:
        """As ``Program.block``."""
        return self._run(place, model, options, options.per_block)

    def memory(self, place: Place, model: str, options: MeasureOptions, calls: int) -> Block:
        """As ``Program.memory``."""
        return self._run(place, model, options, calls, watch=True)

    def profile(
        self, place: Place, model: str, options: MeasureOptions, calls: int
    ) -> list[benchmark_model.Row]:
        """As ``Program.profile``."""
        command = benchmark_model.command(place.program, model, options, calls=calls, profile=True)
        return benchmark_model.parse_profile(_run(place, command, options).text)

    def load(self, place: Place, model: str, options: MeasureOptions, seconds: float, least: int) -> Load:
        """As ``Program.load``: a short process, and one whose timed calls are the load."""
        short = benchmark_model.command(
            place.program, model, options, calls=1, seconds=_SHORT_SHARE * seconds
        )
        before = benchmark_model.parse(_run(place, short, options).text)
        command = benchmark_model.command(place.program, model, options, calls=least, seconds=seconds)
        run = _run(place, _then_uptime(command), options)
        report = benchmark_model.parse(run.text)
        end_s = _uptime(run.text)
        return Load(
            # Calls begin until `seconds` are over; between them the inputs are set again.
            begin_s=end_s - max(seconds, report.calls * report.mean_ms / 1e3),
            end_s=end_s,
            inferences=report.calls,
            rows_ms=[[before.mean_ms], [report.mean_ms]],
            method=(
                "benchmark_model, one process without a pause, which tells only the mean of its calls; the "
                "samples are that of a shorter process before it, and its own"
            ),
            first_ms=before.first_ms,
            load_ms=before.load_ms,
            cpu=run.cpu,
        )

    def _run(
        self, place: Place, model: str, options: MeasureOptions, calls: int, *, watch: bool = False
    ) -> Block:
        command = benchmark_model.command(place.program, model, options, calls=calls)
        run = _run(place, command, options, watch=watch)
        report = benchmark_model.parse(run.text)
        told = len(report.samples_ms) == report.calls
        return Block(
            samples_ms=report.samples_ms,
            calls_per_sample=1 if told else report.calls,
            load_ms=report.load_ms,
            first_ms=report.first_ms,
            cpu=run.cpu,
            memory_bytes=run.memory_bytes,
        )


class PerfTest:
    """ONNX Runtime's program."""

    name = "onnxruntime_perf_test"
    runtime = "onnxruntime"
    suffixes: tuple[str, ...] = (".onnx", ".ort")
    method = (
        "onnxruntime_perf_test, a fresh process per block and model, in turn; its first calls are the "
        "warm-up and dropped; its own random inputs"
    )

    def __init__(self) -> None:
        self._call_ms: dict[str, float] = {}

    def block(self, place: Place, model: str, options: MeasureOptions) -> Block:
        """As ``Program.block``."""
        if model not in self._call_ms:  # how many calls the warm-up takes is not known yet
            run = self._run(place, model, options, calls=options.warmup_calls)
            self._call_ms[model] = max(run.samples_ms[-1], 1e-6)
        wanted = math.ceil(options.warmup_seconds * 1e3 / self._call_ms[model])
        warm_up = max(options.warmup_calls, min(wanted, _MOST_WARM_UP_CALLS))
        return self._run(place, model, options, calls=warm_up + options.per_block, drop=warm_up)

    def memory(self, place: Place, model: str, options: MeasureOptions, calls: int) -> Block:
        """As ``Program.memory``: for a second, so that it can be looked at."""
        return self._run(place, model, options, seconds=_MEMORY_S, watch=True)

    def profile(
        self, place: Place, model: str, options: MeasureOptions, calls: int
    ) -> list[benchmark_model.Row]:
        """As ``Program.profile``; this one has none that can be read here.

        Raises:
            RuntimeInputError: always.
        """
        raise RuntimeInputError("onnxruntime tells no time of single operators here; give a .tflite file")

    def load(self, place: Place, model: str, options: MeasureOptions, seconds: float, least: int) -> Load:
        """As ``Program.load``."""
        call_s = self.block(place, model, options).samples_ms[-1] / 1e3
        long = max(1, math.ceil(max(seconds, 1.1 * least * call_s)))
        with _results(place) as results:
            command = perf_test.command(
                place.program, model, results.path, threads=options.threads, seconds=long
            )
            run = _run(place, _then_uptime(command), options)
            report = perf_test.parse(run.text)
            samples = perf_test.parse_results(results.read(), least)
        end_s = _uptime(run.text)
        length = max(1, min(round(_ROW_S * 1e3 * len(samples) / sum(samples)), len(samples) // 2))
        rows = [samples[at : at + length] for at in range(0, len(samples) - length + 1, length)]
        return Load(
            begin_s=end_s - (report.run_time_s or sum(samples) / 1e3),
            end_s=end_s,
            inferences=len(samples),
            rows_ms=rows,
            method="one process of onnxruntime_perf_test without a pause, every call timed",
            first_ms=report.first_ms,
            load_ms=report.load_ms,
            cpu=run.cpu,
        )

    def _run(
        self,
        place: Place,
        model: str,
        options: MeasureOptions,
        *,
        calls: int = 0,
        seconds: int = 0,
        drop: int = 0,
        watch: bool = False,
    ) -> Block:
        with _results(place) as results:
            command = perf_test.command(
                place.program,
                model,
                results.path,
                threads=options.threads,
                calls=calls,
                seconds=seconds,
            )
            run = _run(place, command, options, watch=watch)
            report = perf_test.parse(run.text)
            samples = perf_test.parse_results(results.read(), max(calls, 1))
        memory = dict(run.memory_bytes)
        if report.peak_bytes and watch:
            memory["VmHWM"] = max(report.peak_bytes, memory.get("VmHWM", 0))
        return Block(
            samples_ms=tuple(samples[drop:]),
            load_ms=report.load_ms,
            first_ms=report.first_ms,
            cpu=run.cpu,
            memory_bytes=memory,
        )


#: The programs, by the setting that gives them.
PROGRAMS: dict[str, type[BenchmarkModel] | type[PerfTest]] = {
    BenchmarkModel.name: BenchmarkModel,
    PerfTest.name: PerfTest,
}


def _run(place: Place, command: Sequence[str], options: MeasureOptions, *, watch: bool = False) -> ToolRun:
    return run_tool(place.shell, command, cpus=options.cpus, watch=watch, end_s=place.end_s)


def _then_uptime(command: Sequence[str]) -> list[str]:
    return ["sh", "-c", f'"$@" || exit; echo; echo "{_MARK} $(cat /proc/uptime)"', "sh", *command]


def _uptime(text: str) -> float:
    if not (found := _UPTIME.findall(text)):
        raise RuntimeFailed(f"the device tells no time since it was started: {last_words(text)}")
    return float(found[-1])


class _Results:
    def __init__(self, place: Place) -> None:
        self._place = place
        self.path = f"{place.scratch}/times-{secrets.token_hex(6)}.csv"

    def read(self) -> str:
        content = self._place.shell.read(self.path)
        if content is None:
            raise RuntimeFailed("onnxruntime_perf_test wrote no file of single times")
        return content.decode(errors="replace")


@contextlib.contextmanager
def _results(place: Place) -> Iterator[_Results]:
    results = _Results(place)
    try:
        yield results
    finally:
        with contextlib.suppress(DeviceError):
            place.shell.run(["rm", "-f", results.path])
