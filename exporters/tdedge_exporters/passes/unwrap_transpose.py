"""Pointwise layers in channels-last, wrapped in Transposes, as 1x1 convolutions.

    Transpose (N,C,*S)->(N,*S,C) | MatMul, Add, maps per channel, activations | Transpose (N,*S,R)->(N,R,*S)
    ->  Conv k=1 on (N,C,*S), the same maps, the same activations

Exact when the Transposes are inverse to each other up to the number of channels and every operator
between them treats positions alike: a product with a constant matrix on the last axis, an elementwise
function, a map with one constant per channel, a Reshape that keeps the last axis (it renumbers the
positions in row-major order, and the last Transpose sees the first one's sizes again).
"""

from __future__ import annotations

import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.passes.pointwise import BINARY, ELEMENTWISE, lift, static, swap, walk
from tdedge_exporters.passes.record import NodePass


class UnwrapTransposePass(NodePass):
    """Turn channels-last pointwise layers between two Transposes into 1x1 convolutions."""

    def rewrite(self, graph: ir.Graph, node: ir.Node) -> str | None:
        """Unwrap the path that ends in this Transpose."""
        target = g.dims(node.outputs[0])
        if target is None or not 3 <= len(target) <= 5 or not static(target[1:]):
            return None
        rank = len(target)
        if _permutation(node) != (0, rank - 1, *range(1, rank - 1)):
            return None

        def source(opener: ir.Node) -> ir.Value | None:
            data = opener.inputs[0]
            if data is None or _permutation(opener) != (0, *range(2, rank), 1):
                return None
            sizes = g.dims(data) or ()
            same = sizes[2:] == target[2:] and bool(sizes) and g.same_size(sizes[0], target[0])
            return data if same else None

        def member(candidate: ir.Node) -> bool:
            known = (*ELEMENTWISE, *BINARY, "MatMul", "Gemm")
            return candidate.op_type in known and candidate.domain in ("", "ai.onnx")

        found = walk(node.inputs[0], source, _keeps_last_axis, member)
        if found is None:
            return None
        data, members, path = found
        new = lift(graph, members, data, target[2:], channel_axis=-1)
        swap(graph, path, node, new)
        return f"{', '.join(member.op_type for member in members)} moved out of a Transpose pair"


def _permutation(node: ir.Node) -> tuple[int, ...]:
    return g.attr_ints(node, "perm", ()) if node.op_type == "Transpose" else ()


def _keeps_last_axis(node: ir.Node) -> bool:
    """True for a Reshape that keeps the last axis."""
    data = node.inputs[0] if node.op_type == "Reshape" else None
    if data is None:
        return False
    before, after = g.dims(data) or (), g.dims(node.outputs[0]) or ()
    return bool(before) and bool(after) and isinstance(before[-1], int) and before[-1] == after[-1]
