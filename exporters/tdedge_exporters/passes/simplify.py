"""Structural clean-up by onnx-simplifier: no-op nodes, shape arithmetic, nested reshapes, pads.

Exactness: each of its rewrites keeps the function of the graph; its result is taken only where the
graph's interface (names, types, ranks of inputs and outputs) is unchanged and no operator domain was
added. Weights of at least ``WEIGHT_BYTES`` travel as graph inputs, so that a large network is neither
copied nor hits the 2 GiB limit of protobuf; contractions of weights are folded before, in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import onnxsim
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from tdedge_exporters.graph import Names
from tdedge_exporters.passes.record import RecordingPass

#: Initializers of at least this size are not sent through the simplifier.
WEIGHT_BYTES = 64 * 1024

#: Fusions that other passes do with a record, or that would hide a factor: a MatMul with bias in
#: channels-last becomes three nodes, weights that happen to be equal become shared.
_SKIPPED = (
    "eliminate_duplicate_initializer",
    "fuse_attention",
    "fuse_bn_into_conv",
    "fuse_matmul_add_bias_into_gemm",
    "fuse_matmul_add_bias_into_gemm_batched",
    "fuse_mul_into_conv",
    "fuse_preceding_mul_into_conv",
    "fuse_qkv",
    "fuse_rms_norm",
)


class SimplifyPass(RecordingPass):
    """Run onnx-simplifier on the whole graph; keep the old graph and record why where that fails."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace ``model.graph`` by the simplified one."""
        _name_everything(model.graph)
        before = sum(1 for _ in model.graph)
        metadata = dict(model.metadata_props)
        weights = _withdraw_weights(model.graph)
        count = len(model.graph.inputs) - len(weights)
        try:
            proto = ir.to_proto(model)
        finally:
            _restore_weights(model.graph, count)
        try:
            simplified, _ = onnxsim.simplify(proto, skipped_optimizers=list(_SKIPPED))
            graph = ir.from_proto(simplified).graph
        except Exception as error:
            self.record("graph", False, f"onnxsim failed: {' '.join(str(error).split())[:300]}")
            return ir.passes.PassResult(model, False)
        problem = _difference(model.graph, graph, [value.name for value in weights])
        if problem is not None:
            self.record("graph", False, f"onnxsim changed the interface: {problem}")
            return ir.passes.PassResult(model, False)
        _adopt_weights(graph, weights, count)
        graph.name = model.graph.name
        model.graph = graph
        model.metadata_props.clear()
        model.metadata_props.update(metadata)
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        after = sum(1 for _ in graph)
        self.record("graph", before != after, f"onnxsim: {before} -> {after} nodes")
        return ir.passes.PassResult(model, before != after)


def _name_everything(graph: ir.Graph) -> None:
    """Give every unnamed node and value a name: records and weights are matched by it."""
    names = Names(graph)
    for node in graph:
        node.name = node.name or names.fresh(f"{node.op_type}_{node.outputs[0].name}")


def _withdraw_weights(graph: ir.Graph) -> list[ir.Value]:
    """Turn large initializers into plain inputs; :func:`_restore_weights` undoes it."""
    large = [
        value
        for value in graph.initializers.values()
        if value.const_value is not None
        and value.const_value.nbytes >= WEIGHT_BYTES
        and not value.is_graph_input()
        and not value.is_graph_output()
    ]
    for value in large:
        assert value.const_value is not None and value.name is not None
        value.shape = value.shape or ir.Shape(value.const_value.shape.numpy())
        value.type = value.type or ir.TensorType(value.const_value.dtype)
        del graph.initializers[value.name]
        graph.inputs.append(value)
    return large


def _restore_weights(graph: ir.Graph, count: int) -> None:
    for value in _take_inputs(graph, count):
        graph.register_initializer(value)


def _take_inputs(graph: ir.Graph, count: int) -> list[ir.Value]:
    """Remove the inputs after the first ``count``; one at a time, because a removed slice is not tracked."""
    return [graph.inputs.pop() for _ in range(len(graph.inputs) - count)][::-1]


def _adopt_weights(graph: ir.Graph, weights: Sequence[ir.Value], count: int) -> None:
    """Make the last inputs of the simplified graph initializers again, those still used."""
    tensors = {value.name: value.const_value for value in weights}
    for value in _take_inputs(graph, count):
        if value.uses():
            value.const_value = tensors[value.name]
            graph.register_initializer(value)


def _difference(old: ir.Graph, new: ir.Graph, weights: Sequence[str | None]) -> str | None:
    """What of the interface changed, or None."""
    inputs = [value.name for value in new.inputs]
    if inputs != [*(value.name for value in old.inputs), *weights]:
        return f"inputs {inputs}"
    for before, after in (
        *zip(old.inputs, new.inputs, strict=False),
        *zip(old.outputs, new.outputs, strict=True),
    ):
        if before.name != after.name or before.dtype != after.dtype:
            return f"{before.name!r} ({before.dtype}) became {after.name!r} ({after.dtype})"
        if before.shape is not None and after.shape is not None and before.shape.rank() != after.shape.rank():
            return f"{before.name!r} of shape {before.shape} became {after.shape}"
    if dict(old.opset_imports) != dict(new.opset_imports):
        return f"operator sets {dict(old.opset_imports)} became {dict(new.opset_imports)}"
    added = {node.domain for node in new} - {node.domain for node in old}
    return f"new operator domains {sorted(added)}" if added else None
