"""Parity of files that already exist: an artifact against its golden data, files against an original."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tdedge.agreement import golden_floor
from tdedge.artifact import read_manifest
from tdedge.errors import UsageError
from tdedge.golden import read_golden
from tdedge.progress import SILENT, Progress, track
from tdedge_exporters.calibration import load_calibration
from tdedge_exporters.export import INPUT_SETS
from tdedge_exporters.gates import is_eight_bits, network_run
from tdedge_exporters.layout import layout_taken
from tdedge_exporters.prepare import Source, prepare
from tdedge_exporters.verify import (
    ParityReport,
    Reference,
    check_outputs,
    check_quality,
    load_npz,
    random_inputs,
)
from tdedge_runtimes.session import open_session, runtime_of


def verify_artifact(
    folder: Path,
    *,
    tolerance: float | None = None,
    min_sqnr_db: float | None = None,
    progress: Progress = SILENT,
) -> dict[str, ParityReport]:
    """Run every target of an artifact on its golden inputs.

    Args:
        folder: the artifact.
        tolerance: of float targets; by precision where not given.
        min_sqnr_db: of 8-bit targets. Where not given, the lower of the floor of the export and of somewhat
            less than it found on the golden inputs alone.
        progress: told about every target.

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
            actual = [network_run(session, entry.input_layout, entry.integers)(feed)]
            if is_eight_bits(entry.precision):
                floor = golden_floor(entry.precision, entry.parity) if min_sqnr_db is None else min_sqnr_db
                report = check_quality([expected], actual, floor, precision=entry.precision)
            else:
                report = check_outputs([expected], actual, precision=entry.precision, tolerance=tolerance)
            reports[entry.target] = report
    return reports


def verify_files(
    source: Source,
    files: Sequence[Path],
    *,
    inputs: Path | None = None,
    seed: int = 0,
    precision: str = "float32",
    tolerance: float | None = None,
    min_sqnr_db: float | None = None,
    calibration: Path | str | None = None,
    progress: Progress = SILENT,
) -> dict[str, ParityReport]:
    """Compare model files with the network they should equal, evaluated in float64.

    Args:
        source: the network.
        files: that should equal it.
        inputs: ``.npz`` with one array per input to compare on.
        seed: of random inputs where none are given.
        precision: what the files compute in; it chooses the tolerance, or the floor of signal to noise.
        tolerance: another one.
        min_sqnr_db: another floor.
        calibration: ``.npz`` with samples on the first axis: int8 files are compared on those that an export
            holds out.
        progress: told about every file.

    Raises:
        UsageError: when a source or file cannot be read, its inputs differ from the original's, or int8 files
            are to be compared on random inputs.
    """
    if precision == "int8" and inputs is None and calibration is None:
        raise UsageError(
            "int8 files are compared on data like their calibration data: give --inputs or --calibration"
        )
    if inputs is not None and calibration is not None:
        raise UsageError("--inputs and --calibration both say what to compare on; give one of them")
    for path in files:
        if not path.is_file():
            raise UsageError(f"{path} does not exist; expected a model file")
    prepared = prepare(source, None, progress=progress)
    if calibration is not None:
        feeds = [dict(feed) for feed in load_calibration(calibration, prepared.model, 1, seed).held_out]
    elif inputs is not None:
        feeds = load_npz(inputs, prepared.model)
    else:
        feeds = random_inputs(prepared.model, seed, INPUT_SETS)
    reference = Reference(prepared.model, feeds)
    reports = {}
    for path in track(((str(p), p) for p in files), progress, "Verify", len(files)):
        with open_session(runtime_of(path), path, threads=1, precision=precision) as session:
            run = network_run(session, layout_taken(prepared.model, session.inputs))
            reports[str(path)] = reference.check(
                run, precision=precision, tolerance=tolerance, min_sqnr_db=min_sqnr_db
            )
    return reports
