"""``tdedge bench``: networks measured side by side on this host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import UsageError

if TYPE_CHECKING:
    from tdedge.report.comparison import Comparison


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

    from tdedge.report import tables
    from tdedge_runtimes.measure import MeasureOptions

    settings = MeasureOptions(threads=threads, max_seconds=seconds, seed=seed, cpus=_cores(cpus))
    with output.progress() as progress:
        comparisons = compare(plan_runs(models, runtime), settings, memory=memory, progress=progress)
    for comparison in comparisons:
        output.table(tables.comparison(comparison))
        if not comparison.quiet:
            output.note(
                f"warning: {comparison.target}: other processes used {comparison.foreign_cpu or 0:.0%} "
                "of the CPU; ratios are interleaved, but run again on an idle machine before you quote them"
            )
    document = {"schema_version": 1, "comparisons": [comparison.to_json() for comparison in comparisons]}
    write_results(document, comparisons, result_file, report, force=force)
    output.document(document)


def _cores(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(core) for core in text.split(","))
    except ValueError as error:
        raise UsageError(f"--cpus {text!r}; expected core numbers such as 0 or 0,1") from error


def plan_runs(models: list[Path], runtime: str | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Target -> label -> model: one run per target all artifacts share, or one run of model files.

    Raises:
        UsageError: when a path is no model, or the artifacts share no target.
    """
    labels = _labels(models)
    found = [_models_of(path, runtime) for path in models]
    if all(not path.is_dir() for path in models):
        files = {label: next(iter(by_target.values())) for label, by_target in zip(labels, found, strict=True)}
        return {runtime or "model files": files}
    shared = [target for target in found[0] if all(target in other for other in found)]
    if runtime is not None:
        shared = [target for target in shared if runtime in (target, target.split(":")[0])]
    if not shared:
        targets = "; ".join(f"{lb}: {', '.join(f)}" for lb, f in zip(labels, found, strict=True))
        raise UsageError(f"the models share no target ({targets}); export them to the same one")
    return {t: {lb: f[t] for lb, f in zip(labels, found, strict=True)} for t in shared}


def _labels(models: list[Path]) -> list[str]:
    """Short names, with as many parent folders as it takes to tell them apart."""
    resolved = [path.resolve() for path in models]
    if len(set(resolved)) != len(resolved):
        raise UsageError("the same model is given twice; copy it to compare it with itself")
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in resolved]


def _models_of(path: Path, runtime: str | None) -> dict[str, dict[str, Any]]:
    """Target -> model description with the costs and parity that are known of it."""
    from tdedge_runtimes.session import runtime_of

    if not path.exists():
        raise UsageError(f"{path} does not exist; expected an artifact folder or a model file")
    if not path.is_dir():
        name = runtime or runtime_of(path)
        return {name: {"path": str(path), "runtime": name, "cost": _cost_of(path)}}
    from tdedge.artifact import read_manifest

    manifest = read_manifest(path)
    cost = manifest.cost.get("exported")
    return {
        entry.target: {
            "path": str(path / entry.entry),
            "runtime": entry.runtime,
            "precision": None if entry.precision == "float32" else entry.precision,
            "cost": cost,
            "parity": entry.parity.get("max_rel"),
        }
        for entry in manifest.targets
    }


def _cost_of(path: Path) -> dict[str, Any] | None:
    """Totals of an ONNX file; None for a form that is not read here."""
    if path.suffix != ".onnx":
        return None
    from tdedge.cost import network_cost
    from tdedge_exporters.capture import capture

    return network_cost(capture(path).model).totals()


def compare(
    runs: dict[str, dict[str, dict[str, Any]]], settings: Any, *, memory: bool, progress: Any
) -> list[Comparison]:
    """Measure every run, one after the other."""
    from tdedge.progress import track
    from tdedge.report.comparison import Comparison
    from tdedge_runtimes.client import measure_models

    comparisons = []
    for target, models in track(((t, (t, m)) for t, m in runs.items()), progress, "Measure", len(runs)):
        specs = {
            label: {key: model[key] for key in ("path", "runtime") if model.get(key)}
            for label, model in models.items()
        }
        result = measure_models(specs, settings, memory=memory)
        comparisons.append(
            Comparison(
                target,
                result,
                {label: model["cost"] for label, model in models.items() if model.get("cost")},
                {lb: m["parity"] for lb, m in models.items() if m.get("parity") is not None},
            )
        )
    return comparisons


def write_results(
    document: dict[str, Any],
    comparisons: list[Comparison],
    result_file: Path | None,
    report: Path | None,
    *,
    force: bool,
) -> None:
    """Write the JSON document and the HTML page that were asked for."""
    from tdedge.artifact import atomic_file

    if result_file is not None:
        import json

        with atomic_file(result_file, force=force) as part:
            part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if report is not None:
        from tdedge.report.page import page

        with atomic_file(report, force=force) as part:
            part.write_text(page("Benchmark", comparisons), encoding="utf-8")
