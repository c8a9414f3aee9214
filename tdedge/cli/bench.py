"""``tdedge bench``: networks measured side by side on this host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import UsageError


def bench(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="BASE OTHER...", help="Artifacts or model files; the first is the reference."),
    ],
    runtime: Annotated[
        str | None, typer.Option(help="Only this target of artifacts, or the runtime for model files.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of one inference.")] = 1,
    seconds: Annotated[float, typer.Option(help="Time per comparison, after warm-up.")] = 10.0,
    cpus: Annotated[str | None, typer.Option(help="Pin to these cores, such as 0 or 0,1.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    memory: Annotated[bool, typer.Option(help="Measure memory too, a process per model.")] = True,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also time every operator of .tflite files, a process each.")
    ] = False,
    result_file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write every sample and figure to this JSON file.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with plots.")] = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    no_progress: opt.NoProgress = False,
) -> None:
    """Compare latency and memory, interleaved in one process, with confidence intervals."""
    output = Output(json=json, quiet=quiet, no_progress=no_progress)
    if len(models) < 2:
        raise UsageError(f"{len(models)} model given; expected a reference and at least one other")
    for path in (result_file, report):
        if path is not None and path.exists() and not force:
            raise UsageError(f"{path} exists; pass --force to replace it")

    from tdedge.report import runs, tables
    from tdedge.report.page import page
    from tdedge_runtimes.measure import MeasureOptions

    settings = MeasureOptions(threads=threads, max_seconds=seconds, seed=seed, cpus=_cores(cpus))
    with output.progress() as progress:
        planned = runs.plan_runs(models, runtime)
        to_profile = runs.files_to_profile(planned) if profile else {}
        comparisons = runs.compare(planned, settings, memory=memory, progress=progress)
        profiles = runs.profiles(to_profile, settings, progress)
    for comparison in comparisons:
        output.table(tables.comparison(comparison))
        if not comparison.quiet:
            output.note(
                f"warning: {comparison.target}: other processes used {comparison.foreign_cpu or 0:.0%} "
                "of the CPU; ratios are interleaved, but run again on an idle machine before you quote them"
            )
    for label, profiled in profiles.items():
        output.table(tables.profile(label, profiled))
    document = {
        "schema_version": 1,
        "comparisons": [comparison.to_json() for comparison in comparisons],
        "profiles": profiles,
    }
    if result_file is not None:
        runs.write_json(result_file, document, force=force)
    if report is not None:
        runs.write_page(report, page("Benchmark", comparisons), force=force)
    output.document(document)


def _cores(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(core) for core in text.split(","))
    except ValueError as error:
        raise UsageError(f"--cpus {text!r}; expected core numbers such as 0 or 0,1") from error
