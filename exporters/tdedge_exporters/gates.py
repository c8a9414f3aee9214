"""The gate every target passes before its files are kept: what it computes, against the captured network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tdedge.agreement import SQNR_FLOORS
from tdedge.artifact import IntegerPort
from tdedge.errors import GateError
from tdedge.golden import to_integers, to_layout, to_reals
from tdedge_exporters import lowering
from tdedge_exporters.lowering import Lowered
from tdedge_exporters.quantize.grids import Grid
from tdedge_exporters.quantize.quantize import Quantised
from tdedge_exporters.verify import ParityReport, Reference, Run, check_quality
from tdedge_runtimes.session import Session, TensorInfo, open_session

#: Tensors named by a failed check.
_MOST_NAMES = 3


@dataclass(frozen=True)
class Verdict:
    """What a target's gate found.

    Attributes:
        report: on the inputs the target is judged on.
        ports: inputs and outputs that its files have as integers.
        golden_sqnr_db: of 8-bit targets: signal to noise on the golden input alone.
    """

    report: ParityReport
    ports: Mapping[str, IntegerPort] = field(default_factory=dict)
    golden_sqnr_db: float | None = None


def check_parity(reference: Reference, lowered: Lowered, tolerance: float | None) -> ParityReport:
    """Compare a lowered target with the reference, the form for reduced builds too where there is one.

    Raises:
        GateError: when an output differs; names the first tensor that does.
    """
    target = lowered.target
    reports = []
    for path in _forms(lowered):
        with open_session(target.runtime, path, threads=1, precision=target.precision) as session:
            run = network_run(session, lowered.input_layout)
            reports.append(reference.check(run, precision=target.precision, tolerance=tolerance))
    report = _worst(reports)
    if report.passed:
        return report
    first = reference.first_diverging(
        lambda feed, names: lowering.probe(
            target, lowered.entry, to_layout(feed, lowered.input_layout), names
        ),
        precision=target.precision,
        tolerance=tolerance,
    )
    where = f"; first diverging tensor: {first}" if first else ""
    raise GateError(f"{target}: parity failed: {report.summary()}{where}; no files were written")


def check_eight_bits(
    reference: Reference,
    judged: Reference,
    lowered: Lowered,
    min_sqnr_db: float | None,
    quantised: Quantised | None = None,
) -> Verdict:
    """Hold a target of 8 bits to its signal-to-noise ratio.

    Args:
        reference: the captured network on the golden input, its first.
        judged: the same on data like the calibration data.
        lowered: the target.
        min_sqnr_db: the floor; that of the precision where not given.
        quantised: the graph that was lowered; None where only weights are whole numbers.

    Raises:
        GateError: an output is below the floor; names the noisiest tensors and what helps.
    """
    target = lowered.target
    grids = quantised.grids.activations if quantised else {}
    reports, ports = [], {}
    golden = None
    for path in _forms(lowered):
        with open_session(target.runtime, path, threads=1, precision=target.precision) as session:
            ports = integer_ports((*session.inputs, *session.outputs), grids)
            run = network_run(session, lowered.input_layout, ports)
            report = judged.check(run, precision=target.precision, min_sqnr_db=min_sqnr_db)
            reports.append(report)
            if golden is None:
                got = run(dict(reference.inputs[0]))
                floor = report.min_sqnr_db
                golden = check_quality(reference.outputs[:1], [got], floor, precision=target.precision)
    report = _worst(reports)
    if not report.passed:
        advice = _advice(quantised) if quantised else "export float16 or float32 weights"
        raise GateError(f"{target}: quality failed: {report.summary()}; {advice}; no files were written")
    assert golden is not None
    return Verdict(report, ports, golden.to_json()["sqnr_db"])


def network_run(session: Session, layout: str, ports: Mapping[str, IntegerPort] | None = None) -> Run:
    """A session as the network itself: its own inputs and outputs, whatever the file has them as."""

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return to_reals(session.run(to_integers(to_layout(feed, layout), ports or {})), ports or {})

    return run


def integer_ports(infos: Sequence[TensorInfo], grids: Mapping[str, Grid]) -> dict[str, IntegerPort]:
    """Inputs and outputs of a file that stand for floats on a grid."""
    ports = {}
    for info in infos:
        grid = grids.get(info.name)
        if grid is not None and info.dtype in ("int8", "uint8"):
            zero = grid.zero_point - (128 if info.dtype == "int8" else 0)
            ports[info.name] = IntegerPort(dtype=info.dtype, scale=grid.scale, zero_point=zero)  # type: ignore[arg-type]
    return ports


def is_eight_bits(precision: str) -> bool:
    """True for precisions that are judged by signal to noise."""
    return precision in SQNR_FLOORS


def _forms(lowered: Lowered) -> list[Path]:
    return [lowered.entry, *(path for path in lowered.files if path.suffix == ".ort")]


def _worst(reports: Sequence[ParityReport]) -> ParityReport:
    return next((report for report in reports if not report.passed), reports[0])


def _advice(quantised: Quantised) -> str:
    report = quantised.report
    worst = ", ".join(f"{t.name} {t.sqnr_db:.1f} dB" for t in report.worst[:_MOST_NAMES])
    noisiest = f"noisiest tensors: {worst}; " if worst else ""
    return (
        f"{noisiest}try --min-sqnr DB to keep the noisiest products in float32, more samples "
        f"({report.samples} were used) or another --calibration-method than {report.method}"
    )
