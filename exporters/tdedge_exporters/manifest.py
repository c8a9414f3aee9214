"""What an export writes beside the model files: the manifest, golden data, the plan."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
    QualitySummary,
    TargetEntry,
    TensorEntry,
    TensorQuality,
)
from tdedge.cost import network_cost
from tdedge_exporters.gates import Verdict
from tdedge_exporters.layout import layout_of
from tdedge_exporters.lowering import Lowered
from tdedge_exporters.passes.record import PassRecord
from tdedge_exporters.planner.plan import TargetPlan
from tdedge_exporters.planning import FAILED
from tdedge_exporters.prepare import Prepared
from tdedge_exporters.quantize.report import QualityReport
from tdedge_exporters.verify import Reference, compare
from tdedge_exporters.worth import Worth

#: Tensors that the summary of a quality report names.
_MOST_TENSORS = 5


def network_sha256(model: ir.Model) -> str:
    """Identity of a network: the SHA-256 of its serialised graph, weights included."""
    return hashlib.sha256(ir.to_proto(model).SerializeToString(deterministic=True)).hexdigest()


def target_entry(folder: Path, lowered: Lowered, verdict: Verdict, plan: TargetPlan | None) -> TargetEntry:
    """What the manifest says of one target."""
    parity = verdict.report.to_json()
    if verdict.golden_sqnr_db is not None:
        parity["golden_sqnr_db"] = verdict.golden_sqnr_db
    return TargetEntry(
        target=str(lowered.target),
        runtime=lowered.target.runtime,
        runtime_version=lowered.runtime_version,
        precision=lowered.target.precision,  # type: ignore[arg-type]
        entry=lowered.entry.name,
        input_layout=lowered.input_layout,  # type: ignore[arg-type]
        notes=list(lowered.notes),
        files=[FileEntry.of(folder, path) for path in lowered.files],
        parity=parity,
        plan=None if plan is None else _summary(plan),
        quality=None,
        integers=dict(verdict.ports),
    )


def with_quality(
    folder: Path, entry: TargetEntry, report: QualityReport, links: int, held_out: int
) -> TargetEntry:
    """An int8 target's entry with a summary of what rounding cost; writes the whole report beside the files.

    Args:
        folder: of the artifact.
        entry: of the target.
        report: of its quantisation.
        links: that were equalised.
        held_out: samples its parity was judged on.
    """
    path = folder / f"quality-{entry.target.replace(':', '-')}.json"
    content = {"schema_version": 1, "target": entry.target, **report.to_json()}
    path.write_text(json_lines(content), encoding="utf-8")
    summary = QualitySummary(
        sqnr_db=report.sqnr_db,
        samples=report.samples,
        method=report.method,
        products=report.products,
        kept=report.kept,
        worst=[TensorQuality(**asdict(tensor)) for tensor in report.worst[:_MOST_TENSORS]],
        equalised=links,
        held_out=held_out,
    )
    files = [*entry.files, FileEntry.of(folder, path)]
    return entry.model_copy(update={"quality": summary, "files": files})


def with_worth(entry: TargetEntry, gain: Worth | str) -> TargetEntry:
    """An int8 target's entry with what integers gain on the clock, or why that is not known."""
    quality = entry.quality
    if quality is not None and isinstance(gain, Worth):
        times = {"int8_ms": gain.int8_ms, "float32_ms": gain.float32_ms}
        quality = quality.model_copy(update=times)
    return entry.model_copy(update={"quality": quality, "notes": [*entry.notes, str(gain)]})


def json_lines(content: Any) -> str:
    """JSON in which objects that hold no others stand on one line each."""
    # A line break is never part of a string in JSON.
    text = re.sub(r"\{[^{}]*\}", lambda found: re.sub(r"\n\s*", " ", found[0]), json.dumps(content, indent=2))
    return text + "\n"


def _summary(plan: TargetPlan) -> PlanSummary:
    return PlanSummary(
        effort=plan.effort,
        threads=plan.threads,
        kept=plan.kept,
        why=plan.why,
        pieces=len(plan.pieces),
        not_plain=plan.not_plain,
        kernels=plan.kernels,
        replayed=plan.replayed,
        plain_ms=plan.check.plain_ms if plan.check else None,
        planned_ms=plan.check.planned_ms if plan.check else None,
    )


def make_manifest(
    prepared: Prepared,
    model: ir.Model,
    reference: Reference,
    targets: list[TargetEntry],
    plan_file: Path,
    *,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing | None,
    warnings: Sequence[str] = (),
) -> Manifest:
    """The manifest; writes the golden data beside ``plan_file``."""
    folder = plan_file.parent
    golden = _write_golden(folder, reference)
    stages = {"dense": prepared.dense, "captured": prepared.model, "exported": model}
    found = [*prepared.notes, *warnings]
    found += [w for target in targets for w in target.parity.get("warnings", ())]
    plans = [(entry.target, entry.plan) for entry in targets if entry.plan is not None]
    found += [f"{target} is {plan.why}" for target, plan in plans if plan.why.startswith(FAILED)]
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
        warnings=list(dict.fromkeys(found)),
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


def write_plan(
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
    path.write_text(json_lines(content), encoding="utf-8")
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
