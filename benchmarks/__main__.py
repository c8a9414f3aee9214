"""Run the benchmarks: ``python -m benchmarks [NAME ...] [--quick] [--threads N] [--output FOLDER]``.

Each benchmark measures ratios: both sides in one process, interleaved, medians with their interval, threads
pinned, the CPU used by other processes recorded. Results are written as Markdown and JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import formats, tflite, thetis
from benchmarks.emulated.benchmark import run as run_emulated
from benchmarks.int8.benchmark import run as run_int8
from benchmarks.int8.cases import TRAINED_CASES
from benchmarks.outcome import Outcome
from benchmarks.ranks.benchmark import run as run_ranks
from benchmarks.realisation.benchmark import run as run_realisation
from benchmarks.realisation.cases import Selection
from benchmarks.realisation.store import lines
from tdedge.errors import TdedgeError
from tdedge.report import numbers
from tdedge.report.comparison import Comparison
from tdedge.report.progress import LineProgress
from tdedge_runtimes.errors import RuntimesError
from tdedge_runtimes.measure import MeasureOptions

COMPARISONS = {"thetis": thetis.run, "formats": formats.run}
#: Those that run only when named: they take gigabytes of peers' environments, an image, or hours.
NAMED: dict[str, Callable[..., Outcome]] = {
    "tflite": tflite.run,
    "realisation": run_realisation,
    "emulated": run_emulated,
    "ranks": run_ranks,
    "int8": run_int8,
}
#: Those that have rows to choose from.
CHOOSING = ("realisation", "int8")

_ABOUT = (
    "All forms of a network are interleaved in one run per runtime; `measured` is the speed-up over the "
    "first form, `realisation` that over the MAC ratio."
)


def markdown(results: Sequence[tuple[str, Comparison]]) -> str:
    """The results as one Markdown table."""
    head = (
        "network", "target", "form", "MACs", "measured", "95 % interval", "realisation", "latency",
        "own memory", "parity",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * 3 + "|---:" * (len(head) - 3) + "|"]
    for network, comparison in results:
        for row in comparison.rows():
            low_high = f"{row.speedup_low:.2f} to {row.speedup_high:.2f}" if row.speedup else "-"
            cells = (
                network,
                comparison.target,
                row.label,
                numbers.ratio(row.mac_ratio),
                numbers.ratio(row.speedup),
                low_high,
                f"{row.realisation:.2f}" if row.realisation else "-",
                f"{numbers.milliseconds(row.latency_ms)} ± {row.latency_mad_ms:.2f}",
                numbers.mebibytes(row.own_memory_bytes),
                numbers.error(row.parity),
            )
            lines.append(f"| {' | '.join(cells)} |")
    noisy = {comparison.target for _, comparison in results if not comparison.quiet}
    if noisy:
        lines.append("")
        lines.append(
            f"Other processes used more than 6 % of the CPU during runs of: {', '.join(sorted(noisy))}."
        )
    return "\n".join(lines) + "\n"


def outcome(
    name: str, options: MeasureOptions, progress: LineProgress, *, quick: bool, selection: Selection
) -> Outcome:
    """Run one benchmark; ``selection`` is for those that have rows to choose from."""
    if name in NAMED:
        run = partial(NAMED[name], selection=selection) if name in CHOOSING else NAMED[name]
        return run(options, progress, quick=quick)
    results = COMPARISONS[name](options, progress, quick=quick)
    document = {"schema_version": 1, "results": [{"network": n, **c.to_json()} for n, c in results]}
    return Outcome(results[0][1].result["environment"], _ABOUT, markdown(results), document)


def heading(name: str, threads: int, result: Outcome) -> str:
    """What was run, how, and where."""
    where = result.environment
    versions = ", ".join(f"{package} {version}" for package, version in where["versions"].items() if version)
    lines = (
        f"# Benchmark: {name}",
        "",
        f"`python -m benchmarks {name} --threads {threads}`: {where['cpu_model']}, {where['cores']} cores,",
        f"{versions}.",
        *textwrap.wrap(result.about, 110),
        "",
    )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what the command line names; 1 where a gate failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    known = ", ".join((*COMPARISONS, *NAMED))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{known}; by default {', '.join(COMPARISONS)}"
    )
    parser.add_argument("--quick", action="store_true", help="fewer formats, shorter runs")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.add_argument_group("rows of realisation and int8", "comma-separated; by default all")
    for option in ("--networks", "--formats", "--runtimes", "--ranks"):
        chosen.add_argument(option, default="")
    chosen.add_argument("--fresh", action="store_true", help="measure rows that are done again")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(COMPARISONS) - set(NAMED)
    if unknown:
        parser.error(f"unknown benchmark {sorted(unknown)[0]!r}; expected {known}")
    progress = LineProgress(Console(stderr=True))
    seconds = 5.0 if arguments.quick else 20.0
    options = MeasureOptions(threads=arguments.threads, max_seconds=seconds)
    arguments.output.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    for name in arguments.names or COMPARISONS:
        try:
            rows = (arguments.networks, arguments.formats, arguments.runtimes, arguments.ranks)
            selection = Selection.parse(*rows, fresh=arguments.fresh, others=TRAINED_CASES)
            result = outcome(name, options, progress, quick=arguments.quick, selection=selection)
        except (TdedgeError, RuntimesError) as error:
            sys.stderr.write(f"{name}: {error.message}\n")
            return error.exit_code
        stem = f"{name}-t{arguments.threads}" + ("-quick" if arguments.quick else "")
        text = heading(name, arguments.threads, result) + result.tables
        (arguments.output / f"{stem}.md").write_text(text, encoding="utf-8")
        (arguments.output / f"{stem}.json").write_text(json.dumps(result.document) + "\n", encoding="utf-8")
        if result.rows and not arguments.quick:
            (arguments.output / f"{stem}.rows.jsonl").write_text(lines(result.rows), encoding="utf-8")
        for suffix, plot in result.plots.items():
            (arguments.output / f"{stem}{suffix}.svg").write_text(plot, encoding="utf-8")
        sys.stdout.write(f"\n## {name}\n\n{result.tables}")
        failures += [f"{name}: {line}" for line in result.failures]
    sys.stdout.writelines(f"{line}\n" for line in failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
