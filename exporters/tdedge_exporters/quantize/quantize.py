"""A planned float32 graph and samples in, a quantised graph out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tdedge.progress import SILENT, Progress
from tdedge_exporters import graph as g
from tdedge_exporters.quantize import ranges
from tdedge_exporters.quantize.calibrate import Statistics, observe
from tdedge_exporters.quantize.grids import Array, Grid, Grids, WeightGrid
from tdedge_exporters.quantize.qdq import insert
from tdedge_exporters.quantize.scheme import MOVES, Scheme, is_cut, scheme


@dataclass(frozen=True)
class Quantised:
    model: ir.Model
    grids: Grids
    scheme: Scheme
    statistics: dict[str, Statistics]


def grids_of(model: ir.Model, found: Scheme, statistics: Mapping[str, Statistics], method: str) -> Grids:
    made = Grids()
    for group in found.groups:
        known = [statistics[v.name or ""] for v in group if v.name in statistics]
        constants = [_of_constant(v) for v in group if g.constant(v) is not None]
        if not known and not constants:
            continue
        grid = ranges.grid([*known, *constants], method)
        made.activations |= {v.name or "": grid for v in group}
    for value in found.edges:
        made.edges.add(value.name or "")
    for value, axis in found.weights.items():
        array = g.float_constant(value)
        made.weights[value.name or ""] = WeightGrid.of(array, axis)
    return made


def _of_constant(value: ir.Value) -> Statistics:
    array = g.constant(value).astype(np.float64)
    low, high = float(array.min(initial=0)), float(array.max(initial=0))
    z = np.zeros(1)
    high = max(high, low + 1e-7)
    return Statistics(low, high, np.histogram(array, 64, (low, high))[0].astype(float), z, z, z, z, 1)


def observed(found: Scheme) -> list[str]:
    names = []
    for group in found.groups:
        for v in group:
            maker = v.producer()
            if g.constant(v) is not None:
                continue
            if (
                maker is not None
                and (maker.op_type in MOVES or maker.op_type == "Concat")
                and maker.inputs[0] in group
            ):
                continue
            names.append(v.name or "")
    return names


def quantize(
    model: ir.Model,
    samples: Sequence[Mapping[str, Array]],
    *,
    method: str = "mse",
    keep: Collection[str] = (),
    progress: Progress = SILENT,
) -> Quantised:
    found = scheme(model, keep)
    stats = observe(model, observed(found), samples, progress=progress)
    grids = grids_of(model, found, stats, method)
    return Quantised(insert(model, grids), grids, found, stats)


def with_any_grids(model: ir.Model) -> ir.Model:
    """With arbitrary grids: what is timed does not depend on them."""
    found = scheme(model)
    grids = Grids()
    for group in found.groups:
        # Only a grid that begins at zero applies a ReLU by being cut off there.
        cut = any((maker := v.producer()) is not None and is_cut(maker) for v in group)
        grids.activations |= {v.name or "": Grid(1 / 32, 0 if cut else 128) for v in group}
    grids.edges |= {v.name or "" for v in found.edges}
    for value, axis in found.weights.items():
        grids.weights[value.name or ""] = WeightGrid.of(g.float_constant(value), axis)
    return insert(model, grids)
