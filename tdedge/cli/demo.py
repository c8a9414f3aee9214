"""``tdedge demo``: the main job on real input, from a network to measured files, offline.

The network is THETIS Net2 (Rasmussen et al. 2022, arXiv 2203.07033): a 3-D CNN that tells two tennis
strokes apart, at the published shapes and ranks. Its trained weights are not distributed, so seeded ones of
the same low-rank structure stand in; latency and memory do not depend on the values.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import UsageError

if TYPE_CHECKING:
    from tdedge.report.comparison import Comparison
    from tdedge_exporters.export import ExportResult

FILES = ("dense", "compressed", "clip.npz", "result.json", "report.html")

SUMMARY = (
    "THETIS Net2, the video network of Rasmussen et al. 2022 (two 3-D convolutions, 28 frames of 120x160 "
    "with depth), dense and Tucker-decomposed at the published ranks. Both were exported, both were checked "
    "against an independent float64 evaluation, and both were timed in one interleaved run on this machine. "
    "Weights are seeded stand-ins of the published low-rank structure: the times are real, accuracy is not "
    "claimed."
)


def demo(
    output_folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the artifacts, the results and the page.")
    ] = Path("tdedge-demo"),
    to: Annotated[str, typer.Option("--to", help="Targets, comma-separated.")] = opt.TARGETS,
    threads: Annotated[int, typer.Option(help="Threads of one inference.")] = 1,
    effort: opt.Effort = "low",
    seconds: Annotated[float, typer.Option(help="Time per comparison, after warm-up.")] = 15.0,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    no_progress: opt.NoProgress = False,
) -> None:
    """Compress, export, verify and measure the THETIS network; print one table and write one page."""
    output = Output(json=json, quiet=quiet, no_progress=no_progress)
    outputs = [
        output_folder / name
        for name in ("dense", "compressed", "planned", "clip.npz", "result.json", "report.html")
    ]
    for path in outputs:
        if path.exists() and not force:
            raise UsageError(f"{path} exists; pass --force to replace it")

    import numpy as np

    from tdedge.artifact import atomic_file
    from tdedge.networks import thetis
    from tdedge.report import runs, tables
    from tdedge_exporters.export import export
    from tdedge_exporters.prepare import Source
    from tdedge_runtimes.measure import MeasureOptions

    settings = MeasureOptions(threads=threads, max_seconds=seconds, min_blocks=8)
    source = Source(thetis.dense())
    clip = output_folder / "clip.npz"
    with atomic_file(clip, force=force) as part:
        np.savez_compressed(part, clip=thetis.example_inputs()[0].numpy())
    with output.progress() as progress:
        results: dict[str, ExportResult] = {}
        exports = [("dense", None, "none"), ("compressed", thetis.PLAN, "none")]
        if effort != "none":
            exports.append(("planned", thetis.PLAN, effort))
        for name, plan, planning in exports:
            results[name] = export(
                source,
                output_folder / name,
                to=to,
                plan=plan,
                effort=planning,
                threads=threads,
                inputs=clip,
                force=force,
                progress=progress,
            )
        planned = runs.plan_runs([output_folder / name for name in results])
        comparisons = runs.compare(planned, settings, progress=progress)

    small = list(results.values())[-1]
    parities = {entry.target: entry.parity["max_rel"] for entry in small.manifest.targets}
    document: dict[str, Any] = {
        "schema_version": 1,
        "network": "THETIS Net2",
        "cost": small.manifest.cost,
        "compression_error": small.manifest.compression_error,
        "comparisons": [comparison.to_json() for comparison in comparisons],
    }
    runs.write_json(output_folder / "result.json", document, force=force)
    runs.write_page(output_folder / "report.html", _page(results, comparisons), force=force)
    if small.compression is not None:
        output.table(tables.compression(small.compression))
    output.table(tables.summary(comparisons, parities))
    output.note(f"plots: {output_folder / 'report.html'}   every sample: {output_folder / 'result.json'}")
    output.document(document)


def _page(results: dict[str, ExportResult], comparisons: list[Comparison]) -> str:
    """The HTML page of the demo."""
    from tdedge.report.page import page

    small = list(results.values())[-1]
    rows = small.compression.rows if small.compression is not None else []
    layers = [
        (row.name, row.macs_before, row.macs_after) for row in rows if row.macs_before != row.macs_after
    ]
    cost = small.manifest.cost
    stages = {"dense": cost["dense"], "compressed": cost["captured"], "as exported": cost["exported"]}
    parity = [
        {**entry.parity, "target": entry.target, "network": name}
        for name, result in results.items()
        for entry in result.manifest.targets
    ]
    return page(
        "THETIS Net2, dense against compressed",
        comparisons,
        summary=SUMMARY,
        stages=stages,
        layers=layers,
        parity=parity,
    )
