"""Pointwise layers on flattened data, as pointwise layers on the data itself.

    Reshape (N,C,*S)->(N,C,L) | Conv k=1, maps per channel, activations | Reshape (N,R,L)->(N,R,*S)
    ->  Conv k=1 on (N,C,*S), the same maps, the same activations

Exact when every Reshape on the way keeps axes 0 and 1 (so it only renumbers positions, in row-major
order), the last one restores the spatial sizes the first one was given, and every operator between them
treats positions alike: a Conv with one tap, stride 1 and no padding, an elementwise function, a map with
one constant per channel. Static shapes prove it; the batch may be symbolic if it is the same symbol.
Tucker, CP and TT layers of tensorly-torch wrap their pointwise factors like this.
"""

from __future__ import annotations

import onnx_ir as ir

from tdedge.compose import NotExactError
from tdedge_exporters import graph as g
from tdedge_exporters.passes.pointwise import BINARY, ELEMENTWISE, lift, positions, static, swap, walk
from tdedge_exporters.passes.record import NodePass


class UnwrapReshapePass(NodePass):
    """Move pointwise layers out of Reshape pairs that flatten and restore the spatial axes."""

    def rewrite(self, graph: ir.Graph, node: ir.Node) -> str | None:
        """Unwrap the path that ends in this Reshape."""
        target = g.dims(node.outputs[0])
        if target is None or not _keeps_channels(node):
            return None

        def source(opener: ir.Node) -> ir.Value | None:
            data = opener.inputs[0]
            if data is None or not _keeps_channels(opener):
                return None
            sizes = g.dims(data) or ()
            if len(sizes) == len(target) and sizes[2:] != target[2:]:
                raise NotExactError(f"spatial sizes {sizes[2:]} go in, {target[2:]} come out")
            return data if sizes[2:] == target[2:] and g.same_size(sizes[0], target[0]) else None

        def member(candidate: ir.Node) -> bool:
            sizes = g.dims(candidate.outputs[0]) or ()
            alike = len(sizes) > 2 and static(sizes[2:]) and positions(sizes[2:]) == positions(target[2:])
            known = (*ELEMENTWISE, *BINARY, "BatchNormalization", "Conv")
            return alike and candidate.op_type in known and candidate.domain in ("", "ai.onnx")

        found = walk(node.inputs[0], source, _keeps_channels, member)
        if found is None:
            return None
        data, members, path = found
        new = lift(graph, members, data, target[2:], channel_axis=1)
        swap(graph, path, node, new)
        return f"{', '.join(member.op_type for member in members)} moved out of a Reshape pair"


def _keeps_channels(node: ir.Node) -> bool:
    """True for a Reshape that keeps axes 0 and 1 and has known spatial sizes."""
    data = node.inputs[0] if node.op_type == "Reshape" else None
    if data is None:
        return False
    before, after = g.dims(data) or (), g.dims(node.outputs[0]) or ()
    kept = len(before) > 2 and len(after) > 2 and all(map(g.same_size, before[:2], after[:2]))
    return kept and static((*before[2:], *after[2:]))
