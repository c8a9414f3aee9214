"""``tdedge verify``: run an artifact's files against its golden data, or model files against an original."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import GateError, UsageError


def verify(
    reference: Annotated[
        str, typer.Argument(metavar="ARTIFACT|REFERENCE", help="An artifact, or the original network.")
    ],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[MODEL...]", help="Files to compare with the original.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="Compare on these inputs: .npz with one array per input.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest error relative to an output's scale. [default: 1e-4; float16 2e-2; bfloat16 1e-1]"
        ),
    ] = None,
    min_sqnr: opt.MinSqnr = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Compare int8 files on the samples that an export holds out of these."
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="What files compute in, and so the limit: float32, float16, bfloat16, int8, int8-weights."
        ),
    ] = "float32",
    weights: opt.Weights = None,
    input_shape: opt.InputShape = None,
    python_path: opt.PythonPath = None,
    trust: opt.Trust = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    no_progress: opt.NoProgress = False,
) -> None:
    """Prove outputs equal on this machine; exit code 1 where they are not."""
    output = Output(json=json, quiet=quiet, no_progress=no_progress)

    from tdedge.report import tables
    from tdedge_exporters.verification import verify_artifact, verify_files

    if files:
        location = opt.source(reference, weights, input_shape, python_path, trust)
        with output.progress() as progress:
            checked = verify_files(
                location,
                files,
                inputs=inputs,
                seed=seed,
                precision=precision,
                tolerance=tolerance,
                min_sqnr_db=min_sqnr,
                calibration=calibration,
                progress=progress,
            )
    else:
        if (
            inputs
            or calibration
            or weights
            or input_shape
            or python_path
            or trust
            or not Path(reference).is_dir()
        ):
            raise UsageError(
                f"{reference}: expected an artifact folder, or the original network and files to compare"
            )
        with output.progress() as progress:
            checked = verify_artifact(
                Path(reference), tolerance=tolerance, min_sqnr_db=min_sqnr, progress=progress
            )
    documents: dict[str, Any] = {}
    failures = []
    for name, report in checked.items():
        documents[name] = report.to_json()
        for warning in report.warnings:
            output.note(f"warning: {name}: {warning}")
        if not report.passed:
            failures.append(f"{name}: {report.summary()}")
    output.table(tables.parity_reports(documents))
    output.document({"schema_version": 1, "parity": documents})
    if failures:
        raise GateError(f"parity failed: {'; '.join(failures)}")
