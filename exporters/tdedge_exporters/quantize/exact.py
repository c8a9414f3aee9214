"""Exact rewrites that give runtimes an operator they have on integers.

ReduceMean over all spatial axes   ->   GlobalAveragePool, reshaped where the axes are not kept
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tdedge_exporters import graph as g


def for_integers(model: ir.Model) -> ir.Model:
    """A copy of ``model`` with these rewrites."""
    copy = model.clone()
    names = g.Names(copy.graph)
    for node in list(copy.graph):
        if node.op_type == "ReduceMean" and _is_global(node):
            _to_pool(copy.graph, node, names)
    return copy


def _is_global(node: ir.Node) -> bool:
    data = node.inputs[0]
    sizes = g.dims(data) if data is not None else None
    if sizes is None or len(sizes) < 3 or not all(isinstance(size, int) for size in sizes):
        return False
    given = g.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = g.attr_ints(node, "axes", ()) if given is None else tuple(int(axis) for axis in given.ravel())
    return sorted(axis % len(sizes) for axis in axes) == list(range(2, len(sizes)))


def _to_pool(graph: ir.Graph, node: ir.Node, names: g.Names) -> None:
    data, result = node.inputs[0], node.outputs[0]
    assert data is not None
    sizes = g.dims(data) or ()
    kept = (*sizes[:2], *(1,) * (len(sizes) - 2))
    name = str(result.name)
    pool = g.new_node(
        "GlobalAveragePool",
        [data],
        name=names.fresh(f"{name}/pool"),
        output=names.fresh(f"{name}/pooled"),
        like=result,
        shape=kept,
    )
    nodes = [pool]
    if not g.attr_int(node, "keepdims", 1):
        shape = g.add_initializer(graph, names.fresh(f"{name}/shape"), np.array(sizes[:2], np.int64))
        nodes.append(
            g.new_node(
                "Reshape",
                [pool.outputs[0], shape],
                name=names.fresh(f"{name}/flat"),
                output=names.fresh(f"{name}/flattened"),
                like=result,
                shape=sizes[:2],
            )
        )
    g.replace([node], nodes, result)
