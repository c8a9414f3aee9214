"""The two explicit lists of passes every export runs, in order."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveUnusedNodesPass, ShapeInferencePass

from tdedge.progress import SILENT, Progress, track
from tdedge_exporters.passes.compose_neighbours import ComposeNeighboursPass
from tdedge_exporters.passes.convert_einsum import ConvertEinsumPass
from tdedge_exporters.passes.convert_matmul import ConvertMatMulPass
from tdedge_exporters.passes.drop_zero_bias import DropZeroBiasPass
from tdedge_exporters.passes.fold_affine import FoldAffinePass
from tdedge_exporters.passes.fold_constants import FoldConstantsPass
from tdedge_exporters.passes.merge_branches import MergeBranchesPass
from tdedge_exporters.passes.record import PassRecord, RecordingPass
from tdedge_exporters.passes.simplify import SimplifyPass
from tdedge_exporters.passes.unwrap_reshape import UnwrapReshapePass
from tdedge_exporters.passes.unwrap_transpose import UnwrapTransposePass

#: Networks of other tools in the form the rest of the project reads.
CLEAN: tuple[type[RecordingPass], ...] = (
    FoldConstantsPass,
    SimplifyPass,
    ConvertEinsumPass,
    ConvertMatMulPass,
    UnwrapReshapePass,
    UnwrapTransposePass,
    FoldAffinePass,
    DropZeroBiasPass,
)

#: Fewer multiply-accumulates, then fewer factors. Composed branches may have become one geometry.
COMPOSE: tuple[type[RecordingPass], ...] = (MergeBranchesPass, ComposeNeighboursPass, MergeBranchesPass)


def clean(model: ir.Model, progress: Progress = SILENT) -> list[PassRecord]:
    """Fold, simplify and turn wrapped factors into plain ones, in place; inputs and outputs stay."""
    InlinePass()(model)
    return _run(model, CLEAN, progress, "Clean")


def compose(model: ir.Model, progress: Progress = SILENT) -> list[PassRecord]:
    """Merge branches and compose neighbours where exact and no dearer in multiply-accumulates, in place."""
    return _run(model, COMPOSE, progress, "Compose")


def _run(
    model: ir.Model, passes: Sequence[type[RecordingPass]], progress: Progress, label: str
) -> list[PassRecord]:
    """Run the passes in order; after each that changed something remove dead code and infer shapes."""
    records: list[PassRecord] = []
    items = [(kind.__name__, kind()) for kind in passes]
    _infer(model)
    for step in track(items, progress, label, len(items)):
        if step(model).modified:
            RemoveUnusedNodesPass()(model)
            _infer(model)
        records += step.records
    return list(dict.fromkeys(records))


def _infer(model: ir.Model) -> None:
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
