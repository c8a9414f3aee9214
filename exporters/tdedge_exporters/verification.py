"""Parity of files that already exist: an artifact against its golden data, files against an original."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tdedge.artifact import read_manifest
from tdedge.errors import UsageError
from tdedge.golden import read_golden, to_layout
from tdedge.progress import SILENT, Progress, track
from tdedge_exporters.export import INPUT_SETS
from tdedge_exporters.layout import in_layout, layout_taken
from tdedge_exporters.prepare import Source, prepare
from tdedge_exporters.verify import ParityReport, Reference, check_outputs, load_npz, random_inputs
from tdedge_runtimes.session import open_session, runtime_of


def verify_artifact(
    folder: Path, *, tolerance: float | None = None, progress: Progress = SILENT
) -> dict[str, ParityReport]:
    """Run every target of an artifact on its golden inputs.

    Raises:
        UsageError: when the folder is no intact artifact.
    """
    manifest = read_manifest(folder)
    feed, expected = read_golden(folder, manifest)
    reports = {}
    targets = ((entry.target, entry) for entry in manifest.targets)
    for entry in track(targets, progress, "Verify", len(manifest.targets)):
        path = folder / entry.entry
        with open_session(entry.runtime, path, threads=1, precision=entry.precision) as session:
            reports[entry.target] = check_outputs(
                [expected],
                [session.run(to_layout(feed, entry.input_layout))],
                precision=entry.precision,
                tolerance=tolerance,
            )
    return reports


def verify_files(
    source: Source,
    files: Sequence[Path],
    *,
    inputs: Path | None = None,
    seed: int = 0,
    precision: str = "float32",
    tolerance: float | None = None,
    progress: Progress = SILENT,
) -> dict[str, ParityReport]:
    """Compare model files with the network they should equal, evaluated in float64.

    ``precision`` is what the files compute in; it chooses the tolerance.

    Raises:
        UsageError: when a source or file cannot be read, or its inputs differ from the original's.
    """
    for path in files:
        if not path.is_file():
            raise UsageError(f"{path} does not exist; expected a model file")
    prepared = prepare(source, None, progress=progress)
    feeds = load_npz(inputs, prepared.model) if inputs else random_inputs(prepared.model, seed, INPUT_SETS)
    reference = Reference(prepared.model, feeds)
    reports = {}
    for path in track(((str(p), p) for p in files), progress, "Verify", len(files)):
        with open_session(runtime_of(path), path, threads=1, precision=precision) as session:
            run = in_layout(session.run, layout_taken(prepared.model, session.inputs))
            reports[str(path)] = reference.check(run, precision=precision, tolerance=tolerance)
    return reports
