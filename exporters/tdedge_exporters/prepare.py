"""Capture a network and, where a plan is given, compress it: the dense and the decomposed graph.

A torch network is compressed as a module and captured afterwards, so that its layers carry the names
their owner knows; an ONNX graph is compressed as a graph, without torch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from tdedge.compress import CompressionReport
from tdedge.plan import CompressionPlan
from tdedge.progress import SILENT, Progress
from tdedge_exporters import graph as g
from tdedge_exporters.capture import Captured, capture, load_module
from tdedge_exporters.compress import compress_model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Source:
    """A network and how to load it; see :func:`tdedge_exporters.capture.capture`."""

    location: str | Path | nn.Module
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    weights: Path | None = None
    trust: bool = False
    python_path: tuple[Path, ...] = ()

    @property
    def is_module(self) -> bool:
        """True where a live torch module can be had: a module, or a factory that returns one."""
        if not isinstance(self.location, Path | str):
            return True
        return ":" in str(self.location) and Path(self.location).suffix.lower() not in (".onnx", ".pt2")


@dataclass(frozen=True)
class Prepared:
    """A captured network, compressed where a plan asked for it.

    Attributes:
        model: the network to export, decomposed where a plan was given.
        dense: the network before compression; None where there was none.
        compression: per-layer report of the compression; None where there was none.
        module: the live torch module ``model`` was captured from; None for a graph.
    """

    name: str
    kind: str
    model: ir.Model
    notes: tuple[str, ...]
    dense: ir.Model | None = None
    compression: CompressionReport | None = None
    plan: CompressionPlan | None = None
    module: Any = None

    @property
    def resolved_plan(self) -> dict[str, Any] | None:
        """The plan with every layer's format and ranks written out, as JSON."""
        if self.plan is None or self.compression is None:
            return None
        return self.plan.resolved(self.compression).model_dump(mode="json", exclude_none=True)


def prepare(
    source: str | Path | nn.Module | Source,
    plan: CompressionPlan | None,
    *,
    example: Any = None,
    progress: Progress = SILENT,
) -> Prepared:
    """Capture ``source`` and compress it by ``plan``.

    Raises:
        UsageError: bad source or plan.
        MissingError: torch is needed and not installed.
    """
    if not isinstance(source, Source):
        source = Source(source)
    if plan is not None and source.is_module:
        return _prepare_module(source, plan, example, progress)
    captured = _captured(source, source.location, example, progress)
    if plan is None:
        return Prepared(captured.name, captured.kind, captured.model, tuple(captured.notes))
    dense = captured.model.clone()
    report = compress_model(captured.model, plan, progress)
    notes = tuple(captured.notes)
    return Prepared(captured.name, captured.kind, captured.model, notes, dense, report, plan)


def _prepare_module(source: Source, plan: CompressionPlan, example: Any, progress: Progress) -> Prepared:
    notes: tuple[str, ...] = ()
    if isinstance(source.location, str | Path):
        module, found = load_module(source.location, weights=source.weights, python_path=source.python_path)
        if example is None and not source.input_shapes:
            example = found
        notes = (f"ran the code of {Path(source.location).name}",)
    else:
        module = source.location
    dense = _captured(source, module, example, progress)
    prepared = compress_module(module, dense, plan, source.input_shapes, progress)
    kind = "factory" if isinstance(source.location, str | Path) else "module"
    return replace(prepared, name=_name(source, dense), kind=kind, notes=notes + prepared.notes)


def compress_module(
    module: nn.Module,
    dense: Captured,
    plan: CompressionPlan,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress = SILENT,
) -> Prepared:
    """A compressed copy of a torch module that is captured already.

    Raises:
        UsageError: the plan does not fit.
    """
    from tdedge.compress import compress

    small = copy.deepcopy(module)
    report = compress(small, plan, example=dense.example or (), progress=progress)
    captured = _captured(Source(small, dict(input_shapes or {})), small, dense.example, progress)
    _name_outputs(captured.model.graph, dense.model.graph)
    notes = tuple(dense.notes)
    return Prepared(dense.name, "module", captured.model, notes, dense.model, report, plan, small)


def _name_outputs(graph: ir.Graph, like: ir.Graph) -> None:
    """Outputs named as the dense network's, so that the files of one can take the other's place.

    One that a layer gives directly is named after the layer's last factor by torch, and the dense network's
    name may be that of a factor before it, which then gets another.
    """
    names = g.Names(graph)
    made = {value.name: value for node in graph for value in node.outputs}
    for value, other in zip(graph.outputs, like.outputs, strict=True):
        holder = made.get(other.name)
        if holder is value or value.producer() is None:
            continue
        if holder is not None:
            holder.name = names.fresh(f"{other.name}/factor")
            made[holder.name] = holder
        del made[value.name]
        value.name = other.name
        made[value.name] = value


def _captured(source: Source, location: Any, example: Any, progress: Progress) -> Captured:
    progress.start("Capture", 1)
    try:
        return capture(
            location,
            example=example,
            input_shapes=source.input_shapes or None,
            weights=source.weights if location is source.location else None,
            trust=source.trust,
            python_path=source.python_path,
        )
    finally:
        progress.step("")
        progress.finish()


def _name(source: Source, captured: Captured) -> str:
    if isinstance(source.location, str | Path):
        return str(source.location).rpartition(":")[2] or captured.name
    return captured.name
