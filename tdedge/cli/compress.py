"""``tdedge compress``: decompose a network's layers and save the smaller network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import UsageError


def compress(
    source: opt.Source,
    output_file: Annotated[
        Path,
        typer.Option("--output", "-o", help="The compressed network: .onnx, or .safetensors of its state."),
    ] = Path("compressed.onnx"),
    plan: opt.PlanFile = None,
    format_name: opt.FormatName = None,
    energy: opt.Energy = None,
    ranks: opt.Ranks = None,
    rank_ratio: opt.RankRatio = None,
    keep: opt.Keep = None,
    save_plan: Annotated[
        Path | None,
        typer.Option("--save-plan", help="Write the plan with every layer's ranks, TOML or JSON."),
    ] = None,
    weights: opt.Weights = None,
    input_shape: opt.InputShape = None,
    python_path: opt.PythonPath = None,
    trust: opt.Trust = False,
    dry_run: opt.DryRun = False,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    no_progress: opt.NoProgress = False,
) -> None:
    """Replace convolutions and Linear layers by factor chains, by a plan file or by one rule."""
    output = Output(json=json, quiet=quiet, no_progress=no_progress)
    wanted = opt.parse_plan(plan, format_name, energy, ranks, rank_ratio, keep)
    if wanted is None:
        raise UsageError("nothing says how to compress; pass --plan FILE, or --format tucker --energy 0.9")
    location = opt.source(source, weights, input_shape, python_path, trust)

    from tdedge.report import tables
    from tdedge_exporters.inspection import inspect_network
    from tdedge_exporters.save import check_savable, save_network

    check_savable(output_file, location, force=force)
    if save_plan is not None:
        check_savable(save_plan, None, force=force)
    with output.progress() as progress:
        result = inspect_network(location, wanted, progress=progress)
    prepared = result.prepared
    if not dry_run:
        save_network(prepared, output_file, save_plan, force=force)
    if prepared.compression is not None:
        output.table(tables.compression(prepared.compression))
    output.table(tables.costs(result.costs))
    written = [] if dry_run else [str(output_file), *([str(save_plan)] if save_plan else [])]
    output.note(f"wrote {', '.join(written)}" if written else "dry run: nothing written")
    output.document({**result.to_json(), "written": written})
