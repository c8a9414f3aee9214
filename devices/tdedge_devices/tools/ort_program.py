"""Jobs by ONNX Runtime's ``onnxruntime_perf_test``."""

from __future__ import annotations

import contextlib
import json
import math
import secrets
from collections.abc import Iterator

from tdedge.errors import DeviceError
from tdedge_devices.tools import perf_test
from tdedge_devices.tools.program import Block, Load, Place, Profile, run_program, then_uptime, uptime
from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.measure import MeasureOptions

_MOST_WARM_UP_CALLS = 1000
_MEMORY_S = 1
_ROW_S = 1.0


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

    def profile(self, place: Place, model: str, options: MeasureOptions, runs: int) -> Profile:
        """As ``Program.profile``: from the profile that the runtime writes.

        Raises:
            RuntimeFailed: it wrote none that can be read.
        """
        from tdedge_runtimes.onnxruntime_profile import parse

        prefix = f"{place.scratch}/profile-{secrets.token_hex(6)}"
        with _results(place) as results:
            try:
                command = perf_test.command(
                    place.program,
                    model,
                    results.path,
                    threads=options.threads,
                    calls=options.warmup_calls + runs,
                    profile=prefix,
                )
                report = perf_test.parse(run_program(place, command, options).text)
                written = place.shell.glob(f"{prefix}*")
                content = place.shell.read(written[0]) if written else None
            finally:
                with contextlib.suppress(DeviceError):
                    place.shell.run(["sh", "-c", 'rm -f "$1"*', "sh", prefix])
        try:
            events = json.loads(content or b"")
        except ValueError:
            raise RuntimeFailed("onnxruntime_perf_test wrote no profile; this build cannot") from None
        return Profile(
            ops=parse(events, runs),
            method=f"{runs} runs in one process of onnxruntime_perf_test, profiled together by the runtime",
            runs=runs,
            load_ms=report.load_ms,
        )

    def load(self, place: Place, model: str, options: MeasureOptions, seconds: float, least: int) -> Load:
        """As ``Program.load``."""
        call_s = self.block(place, model, options).samples_ms[-1] / 1e3
        long = max(1, math.ceil(max(seconds, 1.1 * least * call_s)))
        with _results(place) as results:
            command = perf_test.command(
                place.program, model, results.path, threads=options.threads, seconds=long
            )
            run = run_program(place, then_uptime(command), options)
            report = perf_test.parse(run.text)
            samples = perf_test.parse_results(results.read(), least)
        end_s = uptime(run.text)
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
            run = run_program(place, command, options, watch=watch)
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
