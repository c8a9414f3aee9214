"""From a network to a verified artifact: the stages of the whole pipeline, in order.

    capture -> [compress] -> clean -> compose -> [plan -> quantise -> lower] (each target) -> verify -> keep

Every target is compared with the captured network as it was before any rewrite (already decomposed where
a plan was given). The distance of the decomposed network to the dense one is a property of the
decomposition, not of the export; it is reported beside parity as compression error.

For int8 targets the composed network is also equalised, once and exactly. Each of them is calibrated on its
own: the forms of its plan decide which tensors there are to be rounded, and whether equal channels help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from tdedge.artifact import Manifest, Preprocessing, atomic_folder, check_free, write_manifest
from tdedge.compress import CompressionReport
from tdedge.cost import shape_of
from tdedge.errors import UsageError
from tdedge.plan import CompressionPlan
from tdedge.progress import SILENT, Progress, track
from tdedge_exporters import lowering
from tdedge_exporters.calibration import Calibration, check_calibration, load_calibration
from tdedge_exporters.gates import Verdict, check_eight_bits, check_parity, is_eight_bits
from tdedge_exporters.lowering import Lowered, Target
from tdedge_exporters.manifest import (
    make_manifest,
    network_sha256,
    target_entry,
    with_quality,
    with_worth,
    write_plan,
)
from tdedge_exporters.passes.pipeline import clean, compose
from tdedge_exporters.passes.record import PassRecord
from tdedge_exporters.planner.plan import TargetPlan
from tdedge_exporters.planner.pricing import Measure, local_measure
from tdedge_exporters.planner.remote import Remote
from tdedge_exporters.planning import Planning, ways
from tdedge_exporters.prepare import Source, prepare
from tdedge_exporters.quantiser import Quantiser, timer
from tdedge_exporters.quantize.quantize import Quantised
from tdedge_exporters.quantize.report import QualityReport
from tdedge_exporters.quantize.settings import Int8
from tdedge_exporters.verify import Reference, load_npz, random_inputs
from tdedge_exporters.worth import Worth, worth

if TYPE_CHECKING:
    from torch import nn

#: Seeded random input sets a parity check runs on when the user gives none.
INPUT_SETS = 2


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        folder: the artifact.
        manifest: its manifest.
        records: every rewrite that fired or did not, with its reason.
        compression: per-layer report where a plan was given.
        plans: target -> how it executes the network, where it was planned.
        quality: int8 target -> what its roundings cost, tensor by tensor.
    """

    folder: Path
    manifest: Manifest
    records: tuple[PassRecord, ...]
    compression: CompressionReport | None
    plans: dict[str, TargetPlan]
    quality: dict[str, QualityReport] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document ``tdedge export --json`` prints."""
        return {
            "schema_version": 1,
            "folder": str(self.folder),
            "manifest": self.manifest.model_dump(mode="json"),
            "compression": self.compression.to_json() if self.compression else None,
            "rewrites": [asdict(record) for record in self.records],
            "plans": {target: plan.to_json() for target, plan in self.plans.items()},
            "quality": {target: report.to_json() for target, report in self.quality.items()},
        }


def export(
    source: str | Path | nn.Module | Source,
    output: str | Path,
    *,
    to: str | Sequence[str] = lowering.DEFAULT_TARGETS,
    plan: CompressionPlan | None = None,
    effort: str = "none",
    threads: int = 1,
    cost_table: Path | None = None,
    forms: Mapping[str, TargetPlan] | None = None,
    measure: Measure = local_measure,
    remote: Remote | None = None,
    example: Any = None,
    inputs: Path | None = None,
    seed: int = 0,
    input_sets: int = INPUT_SETS,
    tolerance: float | None = None,
    minimal: bool = False,
    input_layout: str = "nchw",
    int8: Int8 | None = None,
    calibration: Path | str | None = None,
    integer_io: bool = False,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> ExportResult:
    """Export a network to verified files for every target.

    Args:
        source: what :func:`tdedge_exporters.capture.capture` takes, or a :class:`Source` with options.
        output: folder of the artifact.
        to: targets, ``runtime`` or ``runtime:precision``.
        plan: compress the network first.
        effort: how much is measured to choose the forms each target executes fastest: ``none``, ``low``,
            ``normal`` or ``max``.
        threads: threads of one inference while that is measured.
        cost_table: file of known times; the one in the user's cache folder where not given.
        forms: target -> plan of an earlier export, applied again without measuring.
        measure: times files for the planner.
        remote: the device that is planned for, and that times for the planner.
        example: example input of a torch module.
        inputs: ``.npz`` with one array per input to verify on; seeded random ones otherwise.
        seed: seed of the random inputs.
        input_sets: how many random input sets to verify on.
        tolerance: largest error of float targets relative to an output's scale; by precision where not given.
        minimal: also write the ONNX Runtime form for reduced builds.
        input_layout: ``nchw``, or ``nhwc`` for TensorFlow Lite files that take their inputs channels-last.
        int8: how int8 targets are quantised.
        calibration: their data: ``.npz`` with one array per input, samples on its first axis; or ``random``.
        integer_io: inputs and outputs of int8 TensorFlow Lite files are int8.
        labels: class names for the manifest.
        preprocessing: what the application does before the network, for the manifest.
        force: replace an existing artifact.
        progress: told about every stage.

    Raises:
        UsageError: bad source, plan, inputs, calibration data or output folder; int8 without such data.
        GateError: a target failed parity, or its signal to noise is too small; nothing is left behind.
        UnsupportedError: a target cannot express the network.
        MissingError: a runtime or extra is not installed, here or on ``remote``.
        DeviceError: ``remote`` was lost.
    """
    targets = lowering.parse_targets(to)
    for target in targets:
        lowering.require(target)
    check_calibration(targets, calibration)
    int8 = int8 or Int8()
    planning = Planning(effort, threads, cost_table, forms or {}, measure, remote)
    output = Path(output)
    check_free(output, force=force)
    options = lowering.Options(minimal, input_layout, integer_io)
    prepared = prepare(source, plan, example=example, progress=progress)
    _check_labels(labels, prepared.model)
    data = None
    if calibration is not None:
        data = load_calibration(calibration, prepared.model, int8.samples, seed)
    model, records = rewrite(prepared.model, progress)
    reference = Reference(prepared.model, _feeds(prepared.model, inputs, seed, input_sets, data))
    judged = Reference(prepared.model, data.held_out) if data else reference
    both = list(dict.fromkeys((reference, judged)))
    for one in track([(prepared.name, each) for each in both], progress, "Evaluate in float64", len(both)):
        _ = one.outputs
    options = replace(options, network_sha256=network_sha256(model))
    quantiser = Quantiser(model, data, int8.with_margin(), progress)
    quality, warnings = {}, list(data.warnings if data else ())
    with atomic_folder(output, force=force) as folder:
        planned = {
            target: ways(model, target, planning, progress)
            for target in track(((str(t), t) for t in targets), progress, "Plan", len(targets))
        }
        plans = {str(target): made for target, ((_, made), *_) in planned.items() if made is not None}
        entries = []
        for target in track(((str(t), t) for t in targets), progress, "Lower and verify", len(targets)):
            graph, _ = planned[target][0]
            made = quantiser.quantised(planned[target], target, timer(planning))
            quantised = made.quantised if made else None
            if made is not None and made.plan is not None:
                plans[str(target)] = made.plan
            lowered = lowering.lower(quantised.model if quantised else graph, folder, target, options)
            verdict = _judge(reference, judged, lowered, tolerance, int8.min_sqnr_db, quantised)
            entry = target_entry(folder, lowered, verdict, plans.get(str(target)))
            if made is not None:
                quality[str(target)] = report = made.quantised.report
                entry = with_quality(folder, entry, report, made.links, len(judged.inputs))
                if planning.measures(target):
                    ((beside, _), *_) = planned.get(Target(target.runtime), ((model, None),))
                    gain = worth(lowered, dict.fromkeys((made.source, model, beside)), planning)
                    entry = with_worth(entry, gain)
                    if not isinstance(gain, Worth) or not gain.is_faster:
                        warnings.append(f"{target}: {gain}")
            entries.append(entry)
        plan_file = write_plan(folder, prepared, records, plans)
        manifest = make_manifest(
            prepared,
            model,
            reference,
            entries,
            plan_file,
            labels=labels,
            preprocessing=preprocessing,
            warnings=warnings,
        )
        write_manifest(folder, manifest)
    return ExportResult(output, manifest, tuple(records), prepared.compression, plans, quality)


def rewrite(model: ir.Model, progress: Progress = SILENT) -> tuple[ir.Model, list[PassRecord]]:
    """A cleaned and composed copy of ``model``, and what every pass did or why it did not."""
    copy = model.clone()
    return copy, [*clean(copy, progress), *compose(copy, progress)]


def _check_labels(labels: Sequence[str] | None, model: ir.Model) -> None:
    """Refuse labels that no output of (N, classes) has room for."""
    if labels is None:
        return
    classes = {shape_of(value)[1] for value in model.graph.outputs if len(shape_of(value)) == 2}
    if classes and len(labels) not in classes:
        raise UsageError(
            f"{len(labels)} labels for {' or '.join(map(str, sorted(classes)))} classes; give one each"
        )


def _feeds(
    model: ir.Model, inputs: Path | None, seed: int, sets: int, data: Calibration | None
) -> list[dict[str, Any]]:
    """What float targets are verified on; the first is the golden input.

    Signal to noise on random inputs would mislead: with calibration data the first is one of those held out.
    """
    if inputs is not None:
        return load_npz(inputs, model)
    if data is None:
        return random_inputs(model, seed, sets)
    return [dict(data.held_out[0]), *random_inputs(model, seed, sets)[1:]]


def _judge(
    reference: Reference,
    judged: Reference,
    lowered: Lowered,
    tolerance: float | None,
    min_sqnr_db: float | None,
    quantised: Quantised | None,
) -> Verdict:
    """The gate of a target's precision."""
    if is_eight_bits(lowered.target.precision):
        return check_eight_bits(reference, judged, lowered, min_sqnr_db, quantised)
    return Verdict(check_parity(reference, lowered, tolerance))
