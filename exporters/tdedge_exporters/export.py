"""From a network to a verified artifact: the stages of the whole pipeline, in order.

    capture -> [compress] -> clean -> compose -> [plan -> lower] (per target) -> verify -> artifact

Every target is compared with the captured network as it was before any rewrite (already decomposed where
a plan was given). The distance of the decomposed network to the dense one is a property of the
decomposition, not of the export; it is reported beside parity as compression error.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

import tdedge
from tdedge.artifact import (
    GOLDEN,
    PLAN,
    FileEntry,
    Manifest,
    PlanSummary,
    Preprocessing,
    TargetEntry,
    TensorEntry,
    atomic_folder,
    check_free,
    write_manifest,
)
from tdedge.compress import CompressionReport
from tdedge.cost import network_cost, shape_of
from tdedge.errors import GateError, UsageError
from tdedge.golden import to_layout
from tdedge.plan import CompressionPlan
from tdedge.progress import SILENT, Progress, track
from tdedge_exporters import lowering
from tdedge_exporters.layout import in_layout, layout_of
from tdedge_exporters.lowering import Lowered
from tdedge_exporters.passes.pipeline import clean, compose
from tdedge_exporters.passes.record import PassRecord
from tdedge_exporters.planner.plan import TargetPlan
from tdedge_exporters.planner.pricing import Measure, local_measure
from tdedge_exporters.planner.remote import Remote
from tdedge_exporters.planning import FAILED, Planning, plan_network
from tdedge_exporters.prepare import Prepared, Source, prepare
from tdedge_exporters.verify import ParityReport, Reference, compare, load_npz, random_inputs
from tdedge_runtimes.session import open_session

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
    """

    folder: Path
    manifest: Manifest
    records: tuple[PassRecord, ...]
    compression: CompressionReport | None
    plans: dict[str, TargetPlan]

    def to_json(self) -> dict[str, Any]:
        """The document ``tdedge export --json`` prints."""
        return {
            "schema_version": 1,
            "folder": str(self.folder),
            "manifest": self.manifest.model_dump(mode="json"),
            "compression": self.compression.to_json() if self.compression else None,
            "rewrites": [asdict(record) for record in self.records],
            "plans": {target: plan.to_json() for target, plan in self.plans.items()},
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
        tolerance: largest error relative to an output's scale; by precision where not given.
        minimal: also write the ONNX Runtime form for reduced builds.
        input_layout: ``nchw``, or ``nhwc`` for TensorFlow Lite files that take their inputs channels-last.
        labels: class names for the manifest.
        preprocessing: what the application does before the network, for the manifest.
        force: replace an existing artifact.
        progress: told about every stage.

    Raises:
        UsageError: bad source, plan, inputs or output folder.
        GateError: a target failed parity; nothing is left behind.
        UnsupportedError: a target cannot express the network.
        MissingError: a runtime or extra is not installed, here or on ``remote``.
        DeviceError: ``remote`` was lost.
    """
    targets = lowering.parse_targets(to)
    for target in targets:
        lowering.require(target)
    planning = Planning(effort, threads, cost_table, forms or {}, measure, remote)
    output = Path(output)
    check_free(output, force=force)
    options = lowering.Options(minimal, input_layout)
    prepared = prepare(source, plan, example=example, progress=progress)
    _check_labels(labels, prepared.model)
    model, records = rewrite(prepared.model, progress)
    feeds = load_npz(inputs, prepared.model) if inputs else random_inputs(prepared.model, seed, input_sets)
    reference = Reference(prepared.model, feeds)
    for _ in track([(prepared.name, reference)], progress, "Evaluate in float64", 1):
        _ = reference.outputs
    options = replace(options, network_sha256=network_sha256(model))
    with atomic_folder(output, force=force) as folder:
        planned = {
            target: plan_network(model, target, planning, progress)
            for target in track(((str(t), t) for t in targets), progress, "Plan", len(targets))
        }
        plans = {str(target): made for target, (_, made) in planned.items() if made is not None}
        entries = []
        for target in track(((str(t), t) for t in targets), progress, "Lower and verify", len(targets)):
            lowered = lowering.lower(planned[target][0], folder, target, options)
            parity = check_parity(reference, lowered, tolerance)
            entries.append(_target_entry(folder, lowered, parity, plans.get(str(target))))
        plan_file = _write_plan(folder, prepared, records, plans)
        manifest = _manifest(
            prepared, model, reference, entries, plan_file, labels=labels, preprocessing=preprocessing
        )
        write_manifest(folder, manifest)
    return ExportResult(output, manifest, tuple(records), prepared.compression, plans)


def rewrite(model: ir.Model, progress: Progress = SILENT) -> tuple[ir.Model, list[PassRecord]]:
    """A cleaned and composed copy of ``model``, and what every pass did or why it did not."""
    copy = model.clone()
    return copy, [*clean(copy, progress), *compose(copy, progress)]


def network_sha256(model: ir.Model) -> str:
    """Identity of a network: the SHA-256 of its serialised graph, weights included."""
    return hashlib.sha256(ir.to_proto(model).SerializeToString(deterministic=True)).hexdigest()


def check_parity(reference: Reference, lowered: Lowered, tolerance: float | None) -> ParityReport:
    """Compare a lowered target with the reference, the form for reduced builds too where there is one.

    Raises:
        GateError: when an output differs; names the first tensor that does.
    """
    target = lowered.target
    forms = [lowered.entry, *(path for path in lowered.files if path.suffix == ".ort")]
    reports = []
    for path in forms:
        with open_session(target.runtime, path, threads=1, precision=target.precision) as session:
            run = in_layout(session.run, lowered.input_layout)
            reports.append(reference.check(run, precision=target.precision, tolerance=tolerance))
    report = next((report for report in reports if not report.passed), reports[0])
    if report.passed:
        return report
    first = reference.first_diverging(
        lambda feed, names: lowering.probe(
            target, lowered.entry, to_layout(feed, lowered.input_layout), names
        ),
        precision=target.precision,
        tolerance=tolerance,
    )
    raise GateError(f"{target}: parity failed: {report.summary()}{_where(first)}; no files were written")


def _check_labels(labels: Sequence[str] | None, model: ir.Model) -> None:
    """Refuse labels that no output of (N, classes) has room for."""
    if labels is None:
        return
    classes = {shape_of(value)[1] for value in model.graph.outputs if len(shape_of(value)) == 2}
    if classes and len(labels) not in classes:
        raise UsageError(
            f"{len(labels)} labels for {' or '.join(map(str, sorted(classes)))} classes; give one each"
        )


def _where(first: str | None) -> str:
    return f"; first diverging tensor: {first}" if first else ""


def _target_entry(
    folder: Path, lowered: Lowered, parity: ParityReport, plan: TargetPlan | None
) -> TargetEntry:
    return TargetEntry(
        target=str(lowered.target),
        runtime=lowered.target.runtime,
        runtime_version=lowered.runtime_version,
        precision=lowered.target.precision,  # type: ignore[arg-type]
        entry=lowered.entry.name,
        input_layout=lowered.input_layout,  # type: ignore[arg-type]
        notes=list(lowered.notes),
        files=[FileEntry.of(folder, path) for path in lowered.files],
        parity=parity.to_json(),
        plan=None if plan is None else _summary(plan),
    )


def _summary(plan: TargetPlan) -> PlanSummary:
    return PlanSummary(
        effort=plan.effort,
        threads=plan.threads,
        kept=plan.kept,
        why=plan.why,
        pieces=len(plan.pieces),
        not_plain=plan.not_plain,
        replayed=plan.replayed,
        plain_ms=plan.check.plain_ms if plan.check else None,
        planned_ms=plan.check.planned_ms if plan.check else None,
    )


def _manifest(
    prepared: Prepared,
    model: ir.Model,
    reference: Reference,
    targets: list[TargetEntry],
    plan_file: Path,
    *,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing | None,
) -> Manifest:
    folder = plan_file.parent
    golden = _write_golden(folder, reference)
    stages = {"dense": prepared.dense, "captured": prepared.model, "exported": model}
    warnings = [w for target in targets for w in target.parity.get("warnings", ())]
    plans = [(entry.target, entry.plan) for entry in targets if entry.plan is not None]
    warnings += [f"{target} is {plan.why}" for target, plan in plans if plan.why.startswith(FAILED)]
    return Manifest(
        tdedge_version=tdedge.__version__,
        network_sha256=network_sha256(model),
        name=prepared.name,
        source_kind=prepared.kind,
        versions=_versions(targets),
        inputs=[_tensor_entry(value) for value in prepared.model.graph.inputs],
        outputs=[_tensor_entry(value) for value in prepared.model.graph.outputs],
        preprocessing=preprocessing,
        labels=list(labels) if labels is not None else None,
        golden=FileEntry.of(folder, golden),
        targets=targets,
        plan=FileEntry.of(folder, plan_file),
        cost={stage: network_cost(m).totals() for stage, m in stages.items() if m is not None},
        compression_error=compression_error(prepared, reference),
        warnings=list(dict.fromkeys([*prepared.notes, *warnings])),
    )


def compression_error(prepared: Prepared, reference: Reference) -> dict[str, Any] | None:
    """Distance of the decomposed network's outputs to the dense network's, on the same inputs."""
    if prepared.dense is None:
        return None
    dense = Reference(prepared.dense, reference.inputs)
    return compare(dense.outputs, reference.outputs)


def _write_golden(folder: Path, reference: Reference) -> Path:
    """The first input set and the reference's outputs for it, in the network's own dtypes."""
    arrays: dict[str, np.ndarray] = {f"input.{k}": v for k, v in reference.inputs[0].items()}
    arrays |= {f"output.{k}": v for k, v in reference.outputs_as_declared(0).items()}
    path = folder / GOLDEN
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def _write_plan(
    folder: Path, prepared: Prepared, records: Sequence[PassRecord], plans: Mapping[str, TargetPlan]
) -> Path:
    """What was decomposed, composed and planned, so that the export can be explained and repeated."""
    content = {
        "schema_version": 1,
        "compression": prepared.resolved_plan,
        "rewrites": [asdict(record) for record in records if record.changed],
        "targets": {target: plan.to_json() for target, plan in plans.items()},
    }
    path = folder / PLAN
    # Objects that hold no others stand on one line each; a line break is never part of a string in JSON.
    text = re.sub(r"\{[^{}]*\}", lambda found: re.sub(r"\n\s*", " ", found[0]), json.dumps(content, indent=2))
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _tensor_entry(value: ir.Value) -> TensorEntry:
    return TensorEntry(
        name=value.name or "",
        shape=[int(size) for size in value.shape or () if isinstance(size, int)],
        dtype=value.dtype.numpy().name if value.dtype else "",
        layout=layout_of(value),
    )


def _versions(targets: Sequence[TargetEntry]) -> dict[str, str]:
    import onnx

    runtimes: Mapping[str, str] = {entry.runtime: entry.runtime_version for entry in targets}
    return {"onnx": onnx.__version__, "onnx_ir": ir.__version__, "numpy": np.__version__, **runtimes}
