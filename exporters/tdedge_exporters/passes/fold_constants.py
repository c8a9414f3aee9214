"""Compute what depends on constants only: run-time contraction of cores and factors, shape arithmetic.

    f(c1, c2, ...) with every c constant  ->  one constant

Exact: the operator is evaluated once here instead of at every inference (in the element type it has).
Operators that combine weights (Einsum, MatMul, Reshape, Transpose, ...) are folded whatever their size, since
the result is a kernel the network needs anyway; operators that only repeat data (Expand, Tile,
ConstantOfShape) keep the size limit, since folding them would grow the file. Evaluation is onnxscript's.
"""

from __future__ import annotations

import math

import onnx_ir as ir
from onnx_ir.passes.common import (
    IdentityEliminationPass,
    LiftConstantsToInitializersPass,
    RemoveUnusedNodesPass,
)
from onnxscript.optimizer import fold_constants_ir

from tdedge_exporters.graph import dims
from tdedge_exporters.passes.record import RecordingPass

#: Results of other operators than contractions are folded up to this many elements.
OTHER_ELEMENTS = 512 * 512
_UNLIMITED = 2**62

# fmt: off
_CONTRACTIONS = frozenset((
    "Add", "Cast", "CastLike", "Concat", "Div", "Einsum", "Flatten", "Gather", "Gemm", "Identity",
    "MatMul", "Mul", "Pow", "ReduceProd", "ReduceSum", "Reshape", "Slice", "Sqrt", "Squeeze", "Sub",
    "Transpose", "Unsqueeze",
))
# fmt: on


class FoldConstantsPass(RecordingPass):
    """Replace every node that depends on constants only by its value; drop what is unused then."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in place; all constants are initializers afterwards."""
        before = {id(node): node for node in model.graph if node.op_type != "Constant"}
        try:
            fold_constants_ir(
                model,
                onnx_shape_inference=True,
                input_size_limit=OTHER_ELEMENTS,
                output_size_limit=_UNLIMITED,
                should_fold=_should_fold,
            )
        except Exception as error:
            self.record("graph", False, f"constant folding stopped: {' '.join(str(error).split())[:300]}")
        for step in (
            LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            IdentityEliminationPass(),
            RemoveUnusedNodesPass(),
        ):
            step(model)
        _clear_marks(model.graph)
        kept = {id(node) for node in model.graph}
        folded = sorted(node.op_type for key, node in before.items() if key not in kept)
        if folded:
            counts = ", ".join(f"{folded.count(op)} {op}" for op in dict.fromkeys(folded))
            self.record("graph", True, f"folded or removed {counts}")
        return ir.passes.PassResult(model, bool(folded))


def _should_fold(node: ir.Node) -> bool | None:
    """True: always; False: never; None: under onnxscript's own rules."""
    if node.op_type in _CONTRACTIONS:
        return True
    sizes = [size for value in node.outputs for size in (dims(value) or (None,))]
    known = [size for size in sizes if isinstance(size, int)]
    return None if len(known) == len(sizes) and math.prod(known) <= OTHER_ELEMENTS else False


def _clear_marks(graph: ir.Graph) -> None:
    """Drop the notes of where a folded constant came from: they may hold names of a user's modules."""
    for value in graph.initializers.values():
        value.metadata_props.clear()
