"""``tdedge bench``: networks measured side by side, on this host or on devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import UsageError


def bench(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="BASE OTHER...", help="Artifacts or model files; the first is the reference."),
    ],
    on: Annotated[
        str | None,
        typer.Option(metavar="NAME|URL,...", help="Measure on these devices (see: tdedge devices)."),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Only this target of artifacts, or the runtime for model files.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of one inference.")] = 1,
    seconds: Annotated[float, typer.Option(help="Time per comparison, after warm-up.")] = 10.0,
    cpus: Annotated[str | None, typer.Option(help="Pin to these cores, such as 0 or 0,1.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    memory: Annotated[bool, typer.Option(help="Measure memory too, a process per model.")] = True,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also time every operator, a process each.")
    ] = False,
    rounds: Annotated[
        int | None, typer.Option(help="On devices: processes a comparison is shared by. [default: 3]")
    ] = None,
    energy: Annotated[
        bool, typer.Option("--energy", help="On devices: joules per inference, where there is a sensor.")
    ] = False,
    sustained: Annotated[
        str | None, typer.Option(metavar="30m", help="On devices: latency over this time, for every model.")
    ] = None,
    max_celsius: Annotated[
        float | None, typer.Option(help="On devices: begin below this temperature. [default: 45]")
    ] = None,
    cool_down: Annotated[
        str | None, typer.Option(metavar="5m", help="On devices: longest wait for it. [default: 5m]")
    ] = None,
    governor: Annotated[
        str | None, typer.Option(help="On devices: set this clock governor while measuring (takes root).")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="10m", help="On devices: longest time of a job. [default: 10m]")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="On devices: keep every finished piece in this JSON Lines file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the log where it ended.")] = False,
    result_file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write every sample and figure to this JSON file.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with plots.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
    node_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write the times of operators for model-explorer; needs --profile."
        ),
    ] = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    no_progress: opt.NoProgress = False,
) -> None:
    """Compare latency and memory, interleaved in one process, with confidence intervals."""
    output = Output(json=json, quiet=quiet, no_progress=no_progress)
    if len(models) < 2 and on is None:
        raise UsageError(f"{len(models)} model given; expected a reference and at least one other")
    for path in (result_file, report, markdown):
        if path is not None and path.exists() and not force:
            raise UsageError(f"{path} exists; pass --force to replace it")
    if node_data is not None and not profile:
        raise UsageError("--node-data needs the time of single operators; pass --profile too")
    if resume and log is None:
        raise UsageError("--resume goes on with a log; name it with --log FILE")
    if on is None:
        given = {
            **{"--rounds": rounds, "--energy": energy or None, "--sustained": sustained, "--log": log},
            **{"--governor": governor, "--max-celsius": max_celsius, "--cool-down": cool_down},
            "--timeout": timeout,
        }
        if only := [name for name, value in given.items() if value is not None]:
            raise UsageError(f"{only[0]} is for devices; name them with --on, such as --on local:")

    from tdedge.report import results, runs
    from tdedge_runtimes.measure import MeasureOptions

    settings = MeasureOptions(threads=threads, max_seconds=seconds, seed=seed, cpus=_cores(cpus))
    planned = runs.plan_runs(models, runtime)
    if on is not None:
        from tdedge.cli import on_devices

        document = on_devices.measure(
            on,
            planned,
            on_devices.protocol(
                settings,
                memory=memory,
                profile=profile,
                energy=energy,
                rounds=rounds,
                sustained=sustained,
                max_celsius=max_celsius,
                cool_down=cool_down,
                governor=governor,
                timeout=timeout,
                log=log,
            ),
            log=log,
            resume=resume,
            force=force,
            output=output,
        )
    else:
        document = _here(planned, settings, memory=memory, profile=profile, output=output)
    measured = results.Results.of(document)
    for table in measured.tables():
        output.table(table)
    for warning in measured.warnings():
        output.note(f"warning: {warning}")
    if result_file is not None:
        runs.write_json(result_file, document, force=force)
    results.write(measured, "Benchmark", page=report, markdown=markdown, node_data=node_data, force=force)
    output.document(document)
    if on is not None:
        on_devices.raise_what_failed(document)


def _here(planned: Any, settings: Any, *, memory: bool, profile: bool, output: Output) -> dict[str, Any]:
    """The comparisons on this host."""
    from tdedge.report import runs

    with output.progress() as progress:
        comparisons = runs.compare(planned, settings, memory=memory, progress=progress)
        profiles = runs.profiles(planned, settings, progress) if profile else {}
    return {
        "schema_version": 1,
        "comparisons": [comparison.to_json() for comparison in comparisons],
        "profiles": profiles,
    }


def _cores(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(core) for core in text.split(","))
    except ValueError as error:
        raise UsageError(f"--cpus {text!r}; expected core numbers such as 0 or 0,1") from error
