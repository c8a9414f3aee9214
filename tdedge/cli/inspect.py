"""``tdedge inspect``: what a network costs, dense and compressed, layer by layer."""

from __future__ import annotations

from tdedge.cli import options as opt
from tdedge.cli.output import Output


def inspect(
    source: opt.Source,
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
    """Show parameters, MACs, FLOPs and peak activations; with a plan, before and after compression."""
    output = Output(json=json, quiet=quiet, no_progress=no_progress)
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
