"""Matrix products with a constant, in the form the other passes look for.

    MatMul(W, x), x: (N, C, L)  -> Conv(x, W[o, c, 1])     a pointwise 1-D convolution
    MatMul(x, W), x: (N, C)     -> Gemm(x, W)              so that a bias can go into it

Always exact: the same products and sums. A MatMul of two activations, and one with a constant on the
right of more than two axes (a Linear layer in channels-last), are left alone.
"""

from __future__ import annotations

import onnx_ir as ir

from tdedge.compose import NotExactError
from tdedge.factor import Factor
from tdedge_exporters import graph as g
from tdedge_exporters.factor_nodes import write
from tdedge_exporters.passes.record import NodePass


class ConvertMatMulPass(NodePass):
    """Turn MatMul with a constant into a pointwise Conv or a Gemm where it is one."""

    def rewrite(self, graph: ir.Graph, node: ir.Node) -> str | None:
        """Convert one MatMul."""
        if node.op_type != "MatMul":
            return None
        first, second = node.inputs
        assert first is not None and second is not None
        left, right = g.float_constant(first), g.float_constant(second)
        if left is None and right is None:
            raise NotExactError("MatMul of two activations")
        if right is not None:
            if right.ndim != 2 or len(g.dims(first) or ()) != 2:
                return None
            factor, data = Factor(right.T), first
        else:
            assert left is not None
            rank = len(g.dims(second) or ())
            if left.ndim != 2 or rank != 3:
                raise NotExactError(f"a constant of shape {left.shape} times an activation of {rank} axes")
            factor, data = Factor(left[..., None]), second
        names = g.Names(graph)
        names.release(node.name)
        new = write(graph, names, factor, data, g.node_name(node))
        g.replace([node], new, node.outputs[0])
        return f"MatMul -> {new[0].op_type}"
