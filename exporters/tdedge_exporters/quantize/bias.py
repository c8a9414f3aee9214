"""Bias correction: the mean error of rounded weights, taken out of the biases.

With the mean ``m`` of every input channel, rounding W to W' moves the mean of output o by ``sum_c m_c sum_t
(W' - W)[o, c, t]``; it is subtracted from the bias. Zeros of the padding are not counted: next to the
border the correction is a little too large. (Source: Nagel et al., arXiv 1906.04721, section 4.2.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.quantize.grids import Array, Grids
from tdedge_exporters.quantize.scheme import weight_axis
from tdedge_exporters.quantize.statistics import Statistics


def correct(model: ir.Model, grids: Grids, statistics: Mapping[str, Statistics]) -> int:
    """Correct the biases of quantised products in place.

    Args:
        model: float32, before the grids are inserted.
        grids: of its weights.
        statistics: of what the products read; others are left alone.

    Returns:
        How many were corrected.
    """
    count = 0
    names = g.Names(model.graph)
    for node in list(model.graph):
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        grid = grids.weights.get(weight.name or "") if weight is not None else None
        data = node.inputs[0] if node.inputs else None
        if grid is None or data is None or node.op_type not in ("Conv", "Gemm") or weight_axis(node) is None:
            continue
        seen = statistics.get(data.name or "")
        array = g.float_constant(weight)
        if seen is None or array is None:
            continue
        moved = _moved(node, grid.round(array.astype(np.float64)) - array, seen.channel_mean)
        if moved is not None:
            _add(model.graph, node, -moved, names)
            count += 1
    return count


def _moved(node: ir.Node, error: Array, mean: Array) -> Array | None:
    """(C_out,) move of the outputs' means; None where the means do not fit the weight."""
    if node.op_type == "Gemm":
        rows = error if g.attr_int(node, "transB", 0) else error.T
        return rows @ mean if rows.shape[1] == len(mean) else None
    groups = g.attr_int(node, "group", 1)
    out, into = error.shape[:2]
    if groups * into != len(mean):
        return None
    sums = error.reshape(out, into, -1).sum(axis=2)
    moved: Array = (sums * np.repeat(mean.reshape(groups, into), out // groups, axis=0)).sum(axis=1)
    return moved


def _add(graph: ir.Graph, node: ir.Node, offset: Array, names: g.Names) -> None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    held = g.float_constant(bias) if bias is not None else None
    total = offset if held is None else held.astype(np.float64).reshape(offset.shape) + offset
    stem = str(bias.name) if bias is not None else f"{node.inputs[1].name}/bias"  # type: ignore[union-attr]
    made = g.add_initializer(graph, names.fresh(f"{stem}/corrected"), total.astype(np.float32))
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, made)
    if bias is not None:
        g.drop_unused(graph, [bias])
