"""``tdedge inspect``: what a network costs, layer by layer; how an artifact was planned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import UsageError


def inspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE|ARTIFACT",
            help="A network, as export takes it; with --explain also an artifact or its plan.json.",
        ),
    ],
    plan: opt.PlanFile = None,
    format_name: opt.FormatName = None,
    energy: opt.Energy = None,
    ranks: opt.Ranks = None,
    rank_ratio: opt.RankRatio = None,
    keep: opt.Keep = None,
    weights: opt.Weights = None,
    input_shape: opt.InputShape = None,
    python_path: opt.PythonPath = None,
    trust: opt.Trust = False,
    explain: opt.Explain = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    no_progress: opt.NoProgress = False,
) -> None:
    """Show parameters, MACs, FLOPs and peak activations; with a plan, before and after compression.

    Of an artifact, or its plan.json, --explain shows how every target executes the network, and why so.
    """
    output = Output(json=json, quiet=quiet, no_progress=no_progress)
    if (plan_file := _plan_file(source)) is not None:
        if not explain:
            raise UsageError(f"{source} is an artifact; --explain shows its plans, tdedge verify checks it")
        _explain(plan_file, output)
        return
    wanted = opt.parse_plan(plan, format_name, energy, ranks, rank_ratio, keep)
    location = opt.source(source, weights, input_shape, python_path, trust)

    from tdedge.report import tables
    from tdedge_exporters.inspection import inspect_network

    with output.progress() as progress:
        result = inspect_network(location, wanted, rewrites=explain, progress=progress)
    for note in result.prepared.notes:
        output.note(f"note: {note}")
    output.table(tables.costs(result.costs))
    if result.prepared.compression is not None:
        output.table(tables.compression(result.prepared.compression))
    else:
        output.table(tables.layers(result.costs["network"]))
    if explain:
        output.table(tables.rewrites(result.records))
    output.document(result.to_json())


def _plan_file(source: str) -> Path | None:
    """The plan of an artifact, where ``source`` is one."""
    from tdedge.artifact import MANIFEST, PLAN

    path = Path(source)
    if path.is_dir() and (path / MANIFEST).is_file():
        return path / PLAN
    return path if path.suffix == ".json" and path.is_file() else None


def _explain(path: Path, output: Output) -> None:
    """What was considered, measured and chosen for every target, and why; what int8 cost."""
    from tdedge.artifact import MANIFEST, read_manifest
    from tdedge.report import quality, tables

    if (path.parent / MANIFEST).is_file():
        manifest = read_manifest(path.parent, check_hashes=False)
        if any(entry.quality for entry in manifest.targets):
            output.table(quality.summary(manifest))
    plans = opt.parse_forms(path)
    for made in plans.values():
        output.table(tables.target_plan(made))
    if not plans:
        output.note(f"{path} holds no plan of a target; export with --effort low, normal or max makes them")
    content = {target: made.to_json() for target, made in plans.items()}
    output.document({"schema_version": 1, "kind": "plan", "targets": content})
