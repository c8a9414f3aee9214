"""A float32 graph and samples in, a QDQ graph and what it cost out.

    exact rewrites -> scheme -> ranges on the samples -> grids -> [what stays float32] -> biases -> QDQ

The graph is a target's planned one: its forms decide which tensors there are to be rounded, so every target
is calibrated on its own, with the same samples and the same equalised weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from tdedge.errors import UsageError
from tdedge.progress import SILENT, Progress
from tdedge_exporters import graph as g
from tdedge_exporters.quantize import bias, mixed, ranges, report
from tdedge_exporters.quantize.calibrate import BINS, Statistics, observe
from tdedge_exporters.quantize.exact import for_integers
from tdedge_exporters.quantize.grids import Array, Grid, Grids, WeightGrid
from tdedge_exporters.quantize.qdq import insert
from tdedge_exporters.quantize.report import QualityReport
from tdedge_exporters.quantize.scheme import MOVES, Scheme, is_cut, scheme
from tdedge_exporters.quantize.settings import BEST, TRIED, Int8

#: Samples that mixed precision is decided on.
_DECIDED_ON = 8

#: From so many samples on, methods are judged on others than those that ranges are found on.
_LEAST_TO_HALVE = 4
#: On so many at most: what few samples have outside a range decides.
_JUDGED_ON = 16

#: Biases stay below this integer; their correction may yet add to them.
_LARGEST_BIAS = 2.0**30

#: A sigmoid's results are in 0 .. 1, whatever the data; runtimes expect this grid.
_SIGMOID = Grid(1 / 256, 0)


@dataclass(frozen=True)
class Quantised:
    """A quantised network.

    Attributes:
        model: the QDQ graph.
        grids: what is in it.
        report: what it cost on the samples.
        expected_db: signal-to-noise ratio of the outputs on samples that ranges were not found on, all
            products on integers; infinite without any noise, None where it was not looked at.
    """

    model: ir.Model
    grids: Grids
    report: QualityReport
    expected_db: float | None = None


def quantize(
    model: ir.Model,
    samples: Sequence[Mapping[str, Array]],
    settings: Int8 | None = None,
    progress: Progress = SILENT,
) -> Quantised:
    """Quantise a float32 graph to int8.

    Args:
        model: in the forms its target executes; not changed.
        samples: calibration data, one feed each.
        settings: how.
        progress: told about the calibration.

    Raises:
        UsageError: no samples, a node to keep that does not exist, or tensors that are not finite.
    """
    chosen = settings or Int8()
    feeds = list(samples)[: chosen.samples]
    whole = for_integers(model)
    _check_names(whole, chosen.keep)
    statistics = _statistics(whole, feeds, chosen.keep, progress)
    expected_db = None
    if chosen.method == BEST:
        method, expected_db = _best_method(whole, feeds, statistics, chosen)
        chosen = replace(chosen, method=method)
    kept = dict.fromkeys(scheme(whole, chosen.keep).kept, "asked for")
    if chosen.min_sqnr_db is not None:
        more = _kept_for(whole, feeds[:_DECIDED_ON], statistics, chosen, chosen.min_sqnr_db)
        kept |= {name: f"for {chosen.min_sqnr_db:g} dB: {ratio:.1f} dB by itself" for name, ratio in more}
    made = _assemble(whole, statistics, chosen, tuple(kept))
    quality = QualityReport(
        sqnr_db=report.outputs_sqnr_db(whole, made.model, feeds[: report.MOST_SAMPLES]),
        samples=len(feeds),
        method=chosen.method,
        products=made.products,
        kept=kept,
        tensors=report.tensors(whole, made.model, made.grids, feeds),
        corrected=made.corrected,
    )
    return Quantised(made.model, made.grids, quality, expected_db)


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


def _statistics(
    model: ir.Model,
    feeds: Sequence[Mapping[str, Array]],
    keep: Sequence[str] = (),
    progress: Progress = SILENT,
) -> dict[str, Statistics]:
    names = dict.fromkeys((*_observed(scheme(model, keep)), *_read_by_products(model)))
    return observe(model, list(names), feeds, progress=progress)


@dataclass(frozen=True)
class _Assembled:
    model: ir.Model
    grids: Grids
    products: int
    corrected: int


def _assemble(
    model: ir.Model, statistics: Mapping[str, Statistics], settings: Int8, keep: Sequence[str]
) -> _Assembled:
    found = scheme(model, keep)
    grids = _grids(model, found, statistics, settings.method)
    corrected, source = 0, model
    if settings.correct_bias:
        source = model.clone()
        corrected = bias.correct(source, grids, statistics)
    return _Assembled(insert(source, grids), grids, len(found.products), corrected)


def _best_method(
    model: ir.Model,
    feeds: Sequence[Mapping[str, Array]],
    statistics: Mapping[str, Statistics],
    settings: Int8,
) -> tuple[str, float]:
    """The method whose outputs have the best signal-to-noise ratio, and that ratio.

    Ranges of either half of the samples are judged on the other. Fewer than four samples are judged on
    themselves.
    """
    halves = feeds[::2], feeds[1::2]
    folds = [(statistics, feeds)]
    if len(feeds) >= _LEAST_TO_HALVE:
        folds = [(_statistics(model, mine, settings.keep), other) for mine, other in (halves, halves[::-1])]

    def ratio(method: str) -> float:
        total = 0.0
        for seen, others in folds:
            made = _assemble(model, seen, replace(settings, method=method), settings.keep)
            found = report.outputs_sqnr_db(model, made.model, others[:_JUDGED_ON])
            total += math.inf if found is None else found
        return total / len(folds)

    ratios = {method: ratio(method) for method in TRIED}
    best = max(ratios, key=lambda method: ratios[method])
    return best, ratios[best]


def _kept_for(
    model: ir.Model,
    feeds: Sequence[Mapping[str, Array]],
    statistics: Mapping[str, Statistics],
    settings: Int8,
    least_db: float,
) -> list[tuple[str, float]]:
    """Products that stay float32, with their own ratios."""
    grids = _grids(model, scheme(model, settings.keep), statistics, settings.method)
    ranked = mixed.noisiest(model, grids, feeds[:1])

    def reaches(names: Sequence[str]) -> float | None:
        made = _assemble(model, statistics, settings, (*settings.keep, *names))
        return report.outputs_sqnr_db(model, made.model, feeds)

    names = set(mixed.keep_for(ranked, reaches, least_db))
    return [each for each in ranked if each[0] in names]


def _grids(model: ir.Model, found: Scheme, statistics: Mapping[str, Statistics], method: str) -> Grids:
    grids = Grids(edges={value.name or "" for value in found.edges}, weights=_weight_grids(found))
    for group in found.groups:
        makers = [value.producer() for value in group]
        if any(maker is not None and maker.op_type == "Sigmoid" for maker in makers):
            grid = _SIGMOID
        else:
            seen = [statistics[v.name or ""] for v in group if v.name in statistics]
            seen += [_of_constant(value) for value in group if g.constant(value) is not None]
            grid = ranges.grid(seen, method)
        grids.activations |= {value.name or "": grid for value in group}
    _make_room(model, grids)
    return grids


def _make_room(model: ir.Model, grids: Grids) -> None:
    """Coarser grids for channels of tiny weights, so that their biases fit into 32 bits."""
    for node in model.graph:
        weight, bias = (*node.inputs, None, None, None)[1:3]
        grid = grids.weights.get(weight.name or "") if weight is not None else None
        data = node.inputs[0] if node.inputs else None
        read = grids.activations.get(data.name or "") if data is not None else None
        offset = g.float_constant(bias)
        if weight is None or grid is None or read is None or offset is None:
            continue
        least = np.abs(offset.astype(np.float64)).ravel() / (read.scale * _LARGEST_BIAS)
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
            moved = maker is not None and (maker.op_type in MOVES or maker.op_type == "Concat")
            if g.constant(value) is None and not (moved and maker is not None and maker.inputs[0] in members):
                names.append(value.name or "")
    return names


def _read_by_products(model: ir.Model) -> list[str]:
    """What convolutions and Gemms read, for the correction of their biases."""
    nodes = [node for node in model.graph if node.op_type in ("Conv", "Gemm")]
    values = [node.inputs[0] for node in nodes]
    return [value.name or "" for value in values if value is not None and g.constant(value) is None]


def _check_names(model: ir.Model, keep: Sequence[str]) -> None:
    known = {g.node_name(node) for node in model.graph}
    for name in keep:
        if name not in known:
            raise UsageError(f"no node {name!r} to keep in float32; expected a node of the planned graph")
