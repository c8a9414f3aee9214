"""One way of quantising a graph: from what was seen of its tensors, and settings, to the QDQ graph.

scheme -> grids of activations and weights -> biases -> QDQ
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from tdedge.progress import SILENT, Progress
from tdedge_exporters import graph as g
from tdedge_exporters.quantize import bias, ranges
from tdedge_exporters.quantize.calibrate import observe
from tdedge_exporters.quantize.exact import for_integers
from tdedge_exporters.quantize.grids import Array, Grid, Grids, WeightGrid
from tdedge_exporters.quantize.qdq import insert
from tdedge_exporters.quantize.scheme import MOVES, Scheme, is_cut, scheme
from tdedge_exporters.quantize.settings import Int8
from tdedge_exporters.quantize.statistics import BINS, Statistics

#: Biases stay below this integer; their correction may yet add to them.
_LARGEST_BIAS = 2.0**30

#: A sigmoid's results are in 0 .. 1, whatever the data; runtimes expect this grid.
_SIGMOID = Grid(1 / 256, 0)


@dataclass(frozen=True)
class Assembled:
    """A quantised graph.

    Attributes:
        model: the QDQ graph.
        grids: what is in it.
        products: how many of its products are on integers.
        corrected: how many biases were corrected.
    """

    model: ir.Model
    grids: Grids
    products: int
    corrected: int


def assemble(
    model: ir.Model,
    statistics: Mapping[str, Statistics],
    settings: Int8,
    keep: Collection[str],
    *,
    rounds_edges: bool = False,
) -> Assembled:
    """The QDQ graph of a float32 one.

    Args:
        model: not changed.
        statistics: of all samples, see :func:`seen`.
        settings: how ranges are found, and whether biases are corrected.
        keep: names of products that stay float32.
        rounds_edges: put results that leave the integers on their grids too, as a runtime does whose products
            give nothing but integers.
    """
    found = scheme(model, keep)
    grids = _grids(model, found, statistics, settings.method)
    corrected, source = 0, model
    if settings.correct_bias:
        source = model.clone()
        corrected = bias.correct(source, grids, statistics)
    if rounds_edges:
        grids = replace(grids, edges=set())
    return Assembled(insert(source, grids), grids, len(found.products), corrected)


def with_any_grids(model: ir.Model) -> ir.Model:
    """A quantised copy whose grids fit nothing: what takes as long as the right one."""
    whole = for_integers(model)
    found = scheme(whole)
    grids = Grids(edges={v.name or "" for v in found.edges})
    for group in found.groups:
        # Only a grid that begins at zero applies a ReLU by being cut off there.
        cut = any((maker := v.producer()) is not None and is_cut(maker) for v in group)
        grids.activations |= {v.name or "": Grid(1 / 32, 0 if cut else 128) for v in group}
    grids.weights = _weight_grids(found)
    return insert(whole, grids)


def seen(
    model: ir.Model,
    feeds: Sequence[Mapping[str, Array]],
    keep: Collection[str] = (),
    progress: Progress = SILENT,
    *,
    parts: int = 1,
) -> list[dict[str, Statistics]]:
    """What :func:`assemble` must know of the tensors of a graph, these products or more kept in float32.

    Returns:
        For every part of the samples, see :func:`observe`.

    Raises:
        UsageError: no samples, or tensors that are not finite.
    """
    names = dict.fromkeys((*_observed(scheme(model, keep)), *_read_by_products(model)))
    return observe(model, list(names), feeds, parts, progress=progress)


def _grids(model: ir.Model, found: Scheme, statistics: Mapping[str, Statistics], method: str) -> Grids:
    grids = Grids(edges={value.name or "" for value in found.edges}, weights=_weight_grids(found))
    for group in found.groups:
        makers = [value.producer() for value in group]
        if any(maker is not None and maker.op_type == "Sigmoid" for maker in makers):
            grid = _SIGMOID
        else:
            known = {name: one for value in group for name, one in _statistics(value, statistics)}
            grid = ranges.grid(list(known.values()), method)
        grids.activations |= {value.name or "": grid for value in group}
    _make_room(model, grids)
    return grids


def _statistics(value: ir.Value, statistics: Mapping[str, Statistics]) -> Iterator[tuple[str, Statistics]]:
    """(name, what was seen) of a tensor, or of the tensors whose numbers it was given."""
    name, maker = value.name or "", value.producer()
    known = statistics.get(name)
    if known is not None:
        yield name, known
    elif g.constant(value) is not None:
        yield name, _of_constant(value)
    elif maker is not None:
        for source in _moved_by(maker):
            yield from _statistics(source, statistics)


def _moved_by(node: ir.Node) -> list[ir.Value]:
    """The tensors whose numbers a node only moves."""
    if node.op_type in MOVES:
        return [value for value in node.inputs[:1] if value is not None]
    return [value for value in node.inputs if value is not None] if node.op_type == "Concat" else []


def _make_room(model: ir.Model, grids: Grids) -> None:
    """Coarser grids for channels of tiny weights, so that their biases fit into 32 bits."""
    for node in model.graph:
        weight, offset = (*node.inputs, None, None, None)[1:3]
        grid = grids.weights.get(weight.name or "") if weight is not None else None
        data = node.inputs[0] if node.inputs else None
        read = grids.activations.get(data.name or "") if data is not None else None
        held = g.float_constant(offset)
        if weight is None or grid is None or read is None or held is None:
            continue
        least = np.abs(held.astype(np.float64)).ravel() / (read.scale * _LARGEST_BIAS)
        grids.weights[weight.name or ""] = replace(
            grid, scales=np.maximum(grid.scales, least).astype(np.float32)
        )


def _weight_grids(found: Scheme) -> dict[str, WeightGrid]:
    made = {}
    for value, axis in found.weights.items():
        array = g.float_constant(value)
        assert array is not None
        made[value.name or ""] = WeightGrid.of(array, axis)
    return made


def _of_constant(value: ir.Value) -> Statistics:
    array = np.asarray(g.constant(value), np.float64)
    low, high = float(array.min(initial=0.0)), float(array.max(initial=0.0))
    high = max(high, low + 1e-7)
    none = np.zeros(0)
    counts = np.histogram(array, BINS, (low, high))[0].astype(np.float64)
    return Statistics(low, high, counts, none, none, none, none, 1)


def _observed(found: Scheme) -> list[str]:
    """What must be looked at: in every group that which is not moved from another member."""
    names = []
    for group in found.groups:
        members = set(group)
        for value in group:
            maker = value.producer()
            sources = _moved_by(maker) if maker is not None else []
            if g.constant(value) is None and not (sources and sources[0] in members):
                names.append(value.name or "")
    return names


def _read_by_products(model: ir.Model) -> list[str]:
    """What convolutions and Gemms read, for the correction of their biases."""
    nodes = [node for node in model.graph if node.op_type in ("Conv", "Gemm")]
    values = [node.inputs[0] for node in nodes]
    return [value.name or "" for value in values if value is not None and g.constant(value) is None]
