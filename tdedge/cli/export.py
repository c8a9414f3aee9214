"""``tdedge export``: a verified artifact for every target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output


def export(
    source: opt.Source,
    output_folder: Annotated[Path, typer.Option("--output", "-o", help="Folder of the artifact.")] = Path(
        "artifact"
    ),
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Targets, comma-separated: onnxruntime, openvino, tflite, each also with :int8 or "
            ":int8-weights; openvino:float16, tflite:float16, openvino:bfloat16.",
        ),
    ] = opt.TARGETS,
    plan: opt.PlanFile = None,
    format_name: opt.FormatName = None,
    energy: opt.Energy = None,
    ranks: opt.Ranks = None,
    rank_ratio: opt.RankRatio = None,
    keep: opt.Keep = None,
    effort: opt.Effort = "normal",
    threads: Annotated[int, typer.Option(help="Threads of one inference, for the planner.")] = 1,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|URL",
            help="Plan for this device, measuring there: a name of the inventory, or an address such as "
            "ssh://pi@192.0.2.7 or emulated:cortex-a72. [default: this machine]",
        ),
    ] = None,
    cost_table: opt.CostTable = None,
    weights: opt.Weights = None,
    input_shape: opt.InputShape = None,
    python_path: opt.PythonPath = None,
    trust: opt.Trust = False,
    inputs: Annotated[
        Path | None, typer.Option(help="Verify on these inputs: .npz with one array per input.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs to verify on.")] = 0,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest error of float targets relative to an output's scale. "
            "[default: 1e-4; float16 2e-2; bfloat16 1e-1]"
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Make every target that names no precision its int8 form.")
    ] = False,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|random",
            help="Data of int8 targets: .npz with one array per input, samples on the first axis; "
            "'random' goes without, and says so in the manifest.",
        ),
    ] = None,
    calibration_method: Annotated[
        str | None,
        typer.Option(
            help="How ranges are found: mse, minmax, percentile, entropy. [default: best of the first three]"
        ),
    ] = None,
    calibration_samples: Annotated[
        int | None, typer.Option(help="Samples to calibrate on at most. [default: 32]")
    ] = None,
    min_sqnr: opt.MinSqnr = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE", help="Node that stays float32 in int8 targets; repeatable."),
    ] = None,
    no_equalise: Annotated[
        bool, typer.Option("--no-equalise", help="Do not share ranges between channels before int8.")
    ] = False,
    integer_io: Annotated[
        bool,
        typer.Option("--integer-io", help="Inputs and outputs of int8 TensorFlow Lite files are int8."),
    ] = False,
    minimal: Annotated[
        bool, typer.Option("--minimal", help="Also write .ort and the operator list for reduced builds.")
    ] = False,
    input_layout: Annotated[
        str,
        typer.Option(help="Axis order of the inputs of TensorFlow Lite files: nchw as the network, or nhwc."),
    ] = "nchw",
    labels: Annotated[
        Path | None, typer.Option(help="Text file with one class name per line, for the manifest.")
    ] = None,
    preprocessing: Annotated[
        Path | None, typer.Option(help="JSON with scale, mean, std and color, for the manifest.")
    ] = None,
    explain: opt.Explain = False,
    dry_run: opt.DryRun = False,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    no_progress: opt.NoProgress = False,
) -> None:
    """Capture a network, compress it if asked, plan and lower it per target, and prove the outputs equal."""
    output = Output(json=json, quiet=quiet, no_progress=no_progress)
    wanted = opt.parse_plan(plan, format_name, energy, ranks, rank_ratio, keep)
    forms = opt.parse_forms(plan)
    location = opt.source(source, weights, input_shape, python_path, trust)
    names = opt.read_labels(labels)
    applied = opt.read_preprocessing(preprocessing)

    from tdedge.artifact import check_free
    from tdedge.report import quality, tables
    from tdedge_exporters import lowering
    from tdedge_exporters.calibration import check_calibration
    from tdedge_exporters.planning import Planning

    Planning(effort, threads)
    check_free(output_folder, force=force)
    targets = lowering.parse_targets(to)
    if int8:
        targets = lowering.in_int8(targets)
    for target in targets:
        lowering.require(target)
    check_calibration(targets, calibration)
    settings = opt.parse_int8(calibration_method, min_sqnr, keep_float, no_equalise, calibration_samples)
    lowering.Options(minimal, input_layout, integer_io)
    if dry_run:
        from tdedge_exporters.inspection import inspect_network

        with output.progress() as progress:
            seen = inspect_network(location, wanted, rewrites=True, progress=progress)
        output.table(tables.costs(seen.costs))
        output.table(tables.rewrites(seen.records))
        output.note(f"dry run: {output_folder} not written")
        output.document({**seen.to_json(), "written": []})
        return

    from tdedge.cli.planning_device import planning_device
    from tdedge_exporters.export import export as export_network

    with planning_device(device, effort) as remote, output.progress() as progress:
        result = export_network(
            location,
            output_folder,
            to=[str(target) for target in targets],
            plan=wanted,
            effort=effort,
            threads=threads,
            cost_table=cost_table,
            remote=remote,
            forms=forms,
            inputs=inputs,
            seed=seed,
            tolerance=tolerance,
            minimal=minimal,
            input_layout=input_layout,
            int8=settings,
            calibration=calibration,
            integer_io=integer_io,
            labels=names,
            preprocessing=applied,
            force=force,
            progress=progress,
        )
    for warning in result.manifest.warnings:
        output.note(f"warning: {warning}")
    if result.compression is not None:
        output.table(tables.compression(result.compression))
    if explain:
        output.table(tables.rewrites(result.records))
        for made in result.plans.values():
            output.table(tables.target_plan(made))
    output.table(tables.parity(result.manifest))
    if result.quality:
        output.table(quality.summary(result.manifest))
    for name, report in result.quality.items() if explain else ():
        output.table(quality.tensors(name, report))
    if result.plans:
        output.table(tables.plans(result.manifest))
    for entry in result.manifest.targets if explain else ():
        for note in entry.notes:
            output.note(f"{entry.target}: {note}")
    output.note(f"wrote {result.folder}")
    output.document(result.to_json())
