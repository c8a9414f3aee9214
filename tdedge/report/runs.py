"""Plan, measure and write comparisons: what ``tdedge bench``, the demo and the benchmarks share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tdedge.artifact import atomic_file, read_manifest
from tdedge.cost import network_cost
from tdedge.errors import UsageError
from tdedge.progress import SILENT, Progress, track
from tdedge.report.comparison import Comparison
from tdedge_exporters.capture import capture
from tdedge_runtimes.client import measure_models, profile_model
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.session import runtime_of

#: Target -> label -> model (``path``, ``runtime``, ``cost`` and ``parity`` where known).
Runs = dict[str, dict[str, dict[str, Any]]]


def plan_runs(models: Sequence[Path], runtime: str | None = None) -> Runs:
    """Target -> label -> model: one run per target all artifacts share, or one run of model files.

    Raises:
        UsageError: when a path is no model, or the artifacts share no target.
    """
    labels = _labels(models)
    found = [_models_of(path, runtime) for path in models]
    if all(not path.is_dir() for path in models):
        files = {
            label: next(iter(by_target.values())) for label, by_target in zip(labels, found, strict=True)
        }
        return {runtime or "model files": files}
    shared = [target for target in found[0] if all(target in other for other in found)]
    if runtime is not None:
        shared = [target for target in shared if runtime in (target, target.split(":")[0])]
    if not shared:
        targets = "; ".join(f"{lb}: {', '.join(f)}" for lb, f in zip(labels, found, strict=True))
        raise UsageError(f"the models share no target ({targets}); export them to the same one")
    return {t: {lb: f[t] for lb, f in zip(labels, found, strict=True)} for t in shared}


def _labels(models: Sequence[Path]) -> list[str]:
    """Short names, with as many parent folders as it takes to tell them apart."""
    resolved = [path.resolve() for path in models]
    if len(set(resolved)) != len(resolved):
        raise UsageError("the same model is given twice; copy it to compare it with itself")
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in resolved]


def _models_of(path: Path, runtime: str | None) -> dict[str, dict[str, Any]]:
    """Target -> model description with the costs and parity that are known of it."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected an artifact folder or a model file")
    if not path.is_dir():
        name = runtime or runtime_of(path)
        return {name: {"path": str(path), "runtime": name, "cost": _cost_of(path)}}
    manifest = read_manifest(path)
    cost = manifest.cost.get("exported")
    return {
        entry.target: {
            "path": str(path / entry.entry),
            "runtime": entry.runtime,
            "precision": None if entry.precision == "float32" else entry.precision,
            "cost": cost,
            "parity": entry.parity.get("max_rel"),
            "artifact": str(path),
        }
        for entry in manifest.targets
    }


def _cost_of(path: Path) -> dict[str, Any] | None:
    """Totals of an ONNX file; None for a form that is not read here."""
    if path.suffix != ".onnx":
        return None
    return network_cost(capture(path).model).totals()


def compare(
    runs: Runs, options: MeasureOptions, *, memory: bool = True, progress: Progress = SILENT
) -> list[Comparison]:
    """Measure every run, one after the other.

    Raises:
        RuntimesError: a model cannot be loaded or its runtime is missing.
    """
    comparisons = []
    for target, models in track(((t, (t, m)) for t, m in runs.items()), progress, "Measure", len(runs)):
        specs = {
            label: {key: model[key] for key in ("path", "runtime", "precision") if model.get(key)}
            for label, model in models.items()
        }
        result = measure_models(specs, options, memory=memory)
        comparisons.append(
            Comparison(
                target,
                result,
                {label: model["cost"] for label, model in models.items() if model.get("cost")},
                {lb: m["parity"] for lb, m in models.items() if m.get("parity") is not None},
            )
        )
    return comparisons


def profiles(runs: Runs, options: MeasureOptions, progress: Progress = SILENT) -> dict[str, dict[str, Any]]:
    """Time of every operator of each model, "target: label" -> profile.

    Raises:
        RuntimesError: a runtime is missing, or is of a version that cannot be profiled.
    """
    models = {
        f"{target}: {label}": model for target, by_label in runs.items() for label, model in by_label.items()
    }
    found = {}
    for name, model in track(((n, (n, m)) for n, m in models.items()), progress, "Profile", len(models)):
        found[name] = profile_model(
            model["path"],
            runtime=model["runtime"],
            precision=model.get("precision"),
            threads=options.threads,
        )["model"]["profile"]
    return found


def write_json(path: Path, document: Mapping[str, Any], *, force: bool) -> None:
    """Write one JSON document, whole or not at all.

    Raises:
        UsageError: the file exists, or its place cannot be written.
    """
    with atomic_file(path, force=force) as part:
        part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def write_page(path: Path, page: str, *, force: bool) -> None:
    """Write an HTML page, whole or not at all.

    Raises:
        UsageError: the file exists, or its place cannot be written.
    """
    with atomic_file(path, force=force) as part:
        part.write_text(page, encoding="utf-8")
