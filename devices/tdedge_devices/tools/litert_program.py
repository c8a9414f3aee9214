"""Jobs by LiteRT's ``benchmark_model``."""

from __future__ import annotations

from tdedge_devices.tools import benchmark_model
from tdedge_devices.tools.program import Block, Load, Place, Profile, run_program, then_uptime, uptime
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.operator_times import summarise

_PROFILED_PROCESSES = 5
_SHORT_SHARE = 0.1  # of the time of a load, for the process before it


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

    def profile(self, place: Place, model: str, options: MeasureOptions, runs: int) -> Profile:
        """As ``Program.profile``: from a few processes, each of which tells means."""
        processes = min(_PROFILED_PROCESSES, runs)
        calls = -(-runs // processes)
        command = benchmark_model.command(place.program, model, options, calls=calls, profile=True)
        texts = [run_program(place, command, options).text for _ in range(processes)]
        tables = [benchmark_model.parse_profile(text) for text in texts]
        return Profile(
            ops=summarise(
                [
                    [(row.name, row.delegated, row.node, round(row.average_us)) for row in rows]
                    for rows in tables
                ]
            ),
            method=(
                f"{processes} processes of benchmark_model, each telling means over {calls} calls; median, "
                "mean and extremes are of these means"
            ),
            runs=processes * calls,
            load_ms=benchmark_model.parse(texts[0]).load_ms,
        )

    def load(self, place: Place, model: str, options: MeasureOptions, seconds: float, least: int) -> Load:
        """As ``Program.load``: a short process, and one whose timed calls are the load."""
        short = benchmark_model.command(
            place.program, model, options, calls=1, seconds=_SHORT_SHARE * seconds
        )
        before = benchmark_model.parse(run_program(place, short, options).text)
        command = benchmark_model.command(place.program, model, options, calls=least, seconds=seconds)
        run = run_program(place, then_uptime(command), options)
        report = benchmark_model.parse(run.text)
        end_s = uptime(run.text)
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
        run = run_program(place, command, options, watch=watch)
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
