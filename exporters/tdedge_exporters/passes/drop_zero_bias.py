"""A bias of zeros is no bias.

    Conv(x, W, 0) -> Conv(x, W)            also ConvTranspose and Gemm

Always exact. A factor without bias can be composed across zero padding, one with a bias cannot.
"""

from __future__ import annotations

import onnx_ir as ir

from tdedge_exporters.graph import constant, drop_unused
from tdedge_exporters.passes.record import NodePass


class DropZeroBiasPass(NodePass):
    """Remove biases that are all zero."""

    def rewrite(self, graph: ir.Graph, node: ir.Node) -> str | None:
        """Drop the third input where it is constant and zero."""
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(node.inputs) < 3:
            return None
        value = node.inputs[2]
        bias = constant(value)
        if value is None or bias is None or bias.any():
            return None
        node.resize_inputs(2)
        drop_unused(graph, [value])
        return "dropped a bias of zeros"
