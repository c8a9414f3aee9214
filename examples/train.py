"""Run an example: ``python -m examples.train digits|moving_shapes [--formats svd,tucker] [--seeds N]``.

Trains the dense network, compresses it in every format, reconstructs, tunes, exports and measures, and puts
every network on integers in three runtimes; writes tables as Markdown and JSON. With ``--work FOLDER`` a run
that was stopped goes on where it was: networks that are there are not trained again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from examples.cases import choose
from examples.steps import Run
from examples.tables import DENSE, PLAIN, Result
from examples.tasks import Task, digits, moving_shapes
from tdedge.artifact import atomic_file
from tdedge.errors import TdedgeError
from tdedge.progress import Progress
from tdedge.report import runs
from tdedge.report.progress import LineProgress
from tdedge_runtimes.errors import RuntimesError
from tdedge_runtimes.measure import MeasureOptions

TASKS = {task.name: task for task in (digits.TASK, moving_shapes.TASK)}


def run(
    task: Task,
    format_names: Sequence[str],
    seeds: Sequence[int],
    work: Path,
    progress: Progress,
    *,
    times: float = 4.0,
    options: MeasureOptions | None = None,
    effort: str = "normal",
) -> Result:
    """Everything of one task, on one thread.

    Args:
        task: the example.
        format_names: formats to try; all where there are none.
        seeds: networks are trained at each, and exported and timed at the first.
        work: folder for what is made; what is there is not done again.
        progress: told about every step.
        times: how many times fewer multiply-accumulates and parameters are asked for.
        options: how latency is measured.
        effort: of planning, see :func:`tdedge_exporters.export.export`.

    Raises:
        UsageError: for an unknown format, or one that cannot become so cheap.
        MissingError: when a package is not installed.
        GateError: when training diverges or an export fails parity.
    """
    cases = choose(format_names)
    torch.set_num_threads(1)
    rows = {}
    for seed in seeds:
        data = task.load(seed)
        one = Run(task, seed, times, work / f"seed{seed}", effort if seed == seeds[0] else None, progress)
        one.folder.mkdir(parents=True, exist_ok=True)
        network, dense = one.dense(data)
        rows[seed] = [dense, *(one.case(case, network, data) for case in cases)]
    names = (PLAIN, DENSE, *(case.label for case in cases))
    planned = runs.plan_runs([work / f"seed{seeds[0]}" / name for name in names])
    comparison = runs.compare(planned, options or MeasureOptions(), progress=progress)[0]
    return Result(task, times, rows, comparison, format_names)


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m examples.train", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--formats", default="", help="comma-separated; by default all")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0 on")
    parser.add_argument("--times", type=float, default=4.0, help="how many times fewer MACs and parameters")
    parser.add_argument("--output", type=Path, default=Path("examples/results"))
    parser.add_argument("--work", type=Path, help="keep networks here, and go on with those that are there")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds {arguments.seeds}: expected at least 1")
    progress = LineProgress(Console(stderr=True))
    names = [name for name in arguments.formats.split(",") if name]
    task = TASKS[arguments.task]
    try:
        with tempfile.TemporaryDirectory() as scratch:
            work = arguments.work or Path(scratch)
            result = run(task, names, range(arguments.seeds), work, progress, times=arguments.times)
        for suffix, text in (
            ("md", result.to_markdown()),
            ("json", json.dumps(result.to_json(), indent=2) + "\n"),
        ):
            with atomic_file(arguments.output / f"{task.name}.{suffix}", force=True) as part:
                part.write_text(text, encoding="utf-8")
    except (TdedgeError, RuntimesError) as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    sys.stdout.write(result.to_markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
