"""``tdedge compress``: decompose a network's layers and save the smaller network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.cli.within_budget import FORMATS, Wishes, check_plot, plot_front, within_budget
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
    budget: Annotated[
        str | None,
        typer.Option(
            help="Choose ranks so that the network costs this share of the dense one: latency=0.5, macs, "
            "params=10%, size or energy. Latency is measured on the target."
        ),
    ] = None,
    max_drop: Annotated[
        str | None,
        typer.Option("--max-drop", help="Most that --metric may lose of its dense value, such as 1%."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Your measure: function(torch module) -> number."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Unlabelled inputs, .npz: weigh ranks by the error of each layer's outputs."),
    ] = None,
    formats: Annotated[str, typer.Option(help="Formats to choose from, comma-separated.")] = FORMATS,
    target: Annotated[str, typer.Option(help="Runtime whose time counts.")] = "onnxruntime",
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME|URL", help="Device whose time counts. [default: this machine]"),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of one inference.")] = 1,
    effort: opt.Effort = "normal",
    cost_table: opt.CostTable = None,
    front: Annotated[
        Path | None,
        typer.Option("--front", help="Plot every choice that no other beats in cost and loss: .svg or .png."),
    ] = None,
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
    """Replace convolutions and Linear layers by factor chains: by a plan, one rule, or a budget."""
    output = Output(json=json, quiet=quiet, no_progress=no_progress)
    paths = tuple(python_path or ())
    wishes = Wishes(
        budget, max_drop, metric, calibration, formats, target, device, threads, effort, cost_table, paths
    )
    wishes.check()
    wanted = opt.parse_plan(plan, format_name, energy, ranks, rank_ratio, keep)
    if wanted is None and not wishes.is_given:
        raise UsageError(
            "nothing says how to compress; pass --plan FILE, --format tucker --energy 0.9 or "
            "--budget latency=0.5"
        )
    if wanted is not None and wishes.is_given:
        raise UsageError("--budget and --max-drop choose formats and ranks; drop --plan and --format")
    location = opt.source(source, weights, input_shape, python_path, trust)

    from tdedge.report import tables
    from tdedge_exporters.inspection import inspect_network, inspect_prepared
    from tdedge_exporters.save import check_savable, save_network

    check_savable(output_file, location, force=force)
    if save_plan is not None:
        check_savable(save_plan, None, force=force)
    outcome = None
    if wishes.is_given:
        check_plot(front, force=force)
        outcome = within_budget(location, wishes, output)
        result = inspect_prepared(outcome.ranked.prepared)
    else:
        with output.progress() as progress:
            result = inspect_network(location, wanted, progress=progress)
    prepared = result.prepared
    if not dry_run:
        save_network(prepared, output_file, save_plan, force=force)
    if prepared.compression is not None:
        output.table(tables.compression(prepared.compression))
    output.table(tables.costs(result.costs))
    written = [] if dry_run else [str(output_file), *([str(save_plan)] if save_plan else [])]
    if outcome is not None:
        output.table(tables.within_budget(outcome.to_json(), budget))
        if front is not None and not dry_run:
            plot_front(outcome, front, force=force)
            written.append(str(front))
    output.note(f"wrote {', '.join(written)}" if written else "dry run: nothing written")
    chosen = {} if outcome is None else {"budget": outcome.to_json()}
    output.document({**result.to_json(), **chosen, "written": written})
