"""An Einsum with one constant operand that contracts or scales the channels, as a convolution or a product.

    Einsum("bcxy,oc->boxy", x, W)  -> Conv(x, W[o, c, 1, 1])     channels on axis 1 of 3 to 5 axes
    Einsum("b...c,oc->b...o", x, W) -> MatMul(x, W^T)            channels on the last axis
    Einsum("bcxy,c->bcxy", x, w)   -> Mul(x, w[c, 1, 1])         one factor per index

Exact when the constant shares exactly one index with the activation, that index is summed (or, for the
product, kept), and the output is the activation's term with that index replaced. The products are the
same, only named differently. An Einsum of two activations is left alone.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tdedge.compose import NotExactError
from tdedge.factor import Array, Factor
from tdedge_exporters import graph as g
from tdedge_exporters.factor_nodes import write
from tdedge_exporters.passes.record import NodePass

_SPARE = "αβγδεζηθ"


class ConvertEinsumPass(NodePass):
    """Turn Einsums that are pointwise factors into Conv, MatMul or Mul."""

    def rewrite(self, graph: ir.Graph, node: ir.Node) -> str | None:
        """Convert one Einsum."""
        if node.op_type != "Einsum":
            return None
        data, array, terms = _operands(node)
        term, weight, output = terms
        names = g.Names(graph)
        stem = g.node_name(node)
        names.release(node.name)
        if len(weight) == 1 and output == term:
            shape = [array.shape[0] if index == weight else 1 for index in term]
            scale = g.add_initializer(graph, names.fresh(f"{stem}.scale"), array.reshape(shape))
            name = names.fresh(stem)
            out = names.fresh(f"{stem}.out")
            new = [g.new_node("Mul", [data, scale], name=name, output=out, like=data, shape=g.dims(data))]
            g.replace([node], new, node.outputs[0])
            return "Einsum scaling one axis -> Mul"
        axis, matrix = _contraction(term, weight, output, array)
        if axis == len(term) - 1:
            factor = Factor(matrix)
        elif axis == 1 and 3 <= len(term) <= 5:
            factor = Factor(matrix.reshape(*matrix.shape, *[1] * (len(term) - 2)))
        else:
            raise NotExactError(f"channels on axis {axis} of {len(term)}: neither 1 nor the last")
        new = write(graph, names, factor, data, stem)
        g.replace([node], new, node.outputs[0])
        return f"Einsum contracting axis {axis} -> {new[0].op_type}"


def _operands(node: ir.Node) -> tuple[ir.Value, Array, tuple[str, str, str]]:
    """The activation, the constant, and their terms with the output's, ellipses written out."""
    equation = g.attr_string(node, "equation", "").replace(" ", "")
    if len(node.inputs) != 2 or "->" not in equation:
        raise NotExactError(f"Einsum {equation!r} of {len(node.inputs)} operands")
    left, output = equation.split("->")
    operands = dict(zip(left.split(","), node.inputs, strict=True))
    constants = [term for term, value in operands.items() if g.float_constant(value) is not None]
    if len(operands) != 2 or len(constants) != 1:
        raise NotExactError(f"Einsum {equation!r} has no constant operand of its own; two activations stay")
    weight = constants[0]
    (term,) = (term for term in operands if term != weight)
    data, array = operands[term], g.float_constant(operands[weight])
    assert data is not None and array is not None
    rank = len(g.dims(data) or ())
    if rank == 0 or "..." in weight:
        raise NotExactError(f"Einsum {equation!r}: rank of the activation or the constant unknown")
    spare = _SPARE[: rank - len(term.replace("...", ""))]
    term, output = term.replace("...", spare), output.replace("...", spare)
    if len(set(term)) != len(term) or len(term) != rank:
        raise NotExactError(f"Einsum {equation!r} takes a diagonal")
    return data, array, (term, weight, output)


def _contraction(term: str, weight: str, output: str, array: Array) -> tuple[int, Array]:
    """Contracted axis and the matrix (out, in)."""
    shared = set(term) & set(weight)
    if len(weight) != 2 or len(set(weight)) != 2 or len(shared) != 1:
        raise NotExactError(f"Einsum '{term},{weight}->{output}' is no contraction of one axis with a matrix")
    (old,) = shared
    (new,) = set(weight) - shared
    if output != term.replace(old, new):
        raise NotExactError(f"Einsum '{term},{weight}->{output}' moves axes")
    matrix = array if weight == new + old else array.T
    return term.index(old), np.ascontiguousarray(matrix)
