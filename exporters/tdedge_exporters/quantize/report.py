"""What rounding costs, tensor by tensor and at the outputs.

Tensors: both graphs are computed node by node, the quantised one with its roundings but in float arithmetic.
The outputs: as ONNX Runtime executes the quantised graph on integers; a graph with 3-D convolutions as
tensors, since its integer kernels of those take seconds (dense THETIS: 3.3 s, 0.42 s in float32).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.quantize.calibrate import Runner
from tdedge_exporters.quantize.grids import Array, Grids

#: Samples that a report looks at.
MOST_SAMPLES = 4


@dataclass(frozen=True)
class TensorQuality:
    """One quantised tensor.

    Attributes:
        name: of the value.
        sqnr_db: signal over the noise of all roundings up to here; None without any.
        saturated: share of the values that lie outside the grid.
    """

    name: str
    sqnr_db: float | None
    saturated: float


@dataclass(frozen=True)
class QualityReport:
    """What quantisation cost on the calibration data.

    Attributes:
        sqnr_db: of all outputs together, executed on integers; None without any noise.
        samples: feeds that were used.
        method: how ranges were found.
        products: products on integers.
        kept: node -> why it stays float32.
        tensors: every quantised tensor, in execution order.
        corrected: products whose bias was corrected.
    """

    sqnr_db: float | None
    samples: int
    method: str
    products: int
    kept: dict[str, str]
    tensors: tuple[TensorQuality, ...] = ()
    corrected: int = 0

    @property
    def worst(self) -> list[TensorQuality]:
        """Tensors, the noisiest first."""
        known = [tensor for tensor in self.tensors if tensor.sqnr_db is not None]
        return sorted(known, key=lambda tensor: tensor.sqnr_db or math.inf)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"tensors": [asdict(tensor) for tensor in self.tensors]}


def sqnr_db(signal: float, noise: float) -> float | None:
    """``10 log10(signal / noise)``; None where either is 0."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


class Exact:
    """The floating-point outputs of a float32 graph on some samples, to judge quantised ones by.

    Args:
        model: float32.
        samples: feeds; each is run once.
    """

    def __init__(self, model: ir.Model, samples: Sequence[Mapping[str, Array]]) -> None:
        self._samples = samples
        self._names = [str(value.name) for value in model.graph.outputs if value.dtype == ir.DataType.FLOAT]
        self._outputs = list(Runner(model).run(samples, self._names))

    def energies(self, quantised: ir.Model) -> Array:
        """(samples, 2) energy of the signal and of the noise of every sample."""
        got = Runner(quantised, optimised=not _has_clips(quantised)).run(self._samples, self._names)
        found = np.zeros((len(self._outputs), 2))
        for row, one, other in zip(found, self._outputs, got, strict=True):
            for name in self._names:
                exact = one[name].astype(np.float64)
                row += (exact**2).sum(), ((other[name] - exact) ** 2).sum()
        return found

    def sqnr_db(self, quantised: ir.Model) -> float | None:
        """Signal-to-noise ratio of all of them; None without any noise."""
        signal, noise = self.energies(quantised).sum(axis=0)
        return sqnr_db(float(signal), float(noise))


def outputs_sqnr_db(
    model: ir.Model, quantised: ir.Model, samples: Sequence[Mapping[str, Array]]
) -> float | None:
    """Signal-to-noise ratio of all floating-point outputs of a quantised graph; None without any noise."""
    return Exact(model, samples).sqnr_db(quantised)


def _has_clips(model: ir.Model) -> bool:
    """Whether there are 3-D convolutions."""
    nodes = [node for node in model.graph if node.op_type == "Conv" and node.inputs[0] is not None]
    return any(len(g.dims(node.inputs[0]) or ()) == 5 for node in nodes)  # type: ignore[arg-type]


def tensors(
    model: ir.Model, quantised: ir.Model, grids: Grids, samples: Sequence[Mapping[str, Array]]
) -> tuple[TensorQuality, ...]:
    """Quality of every value that has a grid and that something reads as a number, in execution order."""
    graph = model.graph
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    rounded = {str(value.name) for node in quantised.graph for value in node.outputs}
    pairs = []
    for value in values:
        name = str(value.name)
        number = f"{name}/dq" if f"{name}/dq" in rounded else name
        if name in grids.activations and name not in grids.edges and number in rounded:
            pairs.append((name, number))
    exact, other = Runner(model), Runner(quantised, optimised=False)
    sums = {name: np.zeros(4) for name, _ in pairs}
    behind = dict(pairs)
    for chunk in exact.chunks([name for name, _ in pairs]):
        reals = exact.run(samples[:MOST_SAMPLES], chunk)
        grid_values = other.run(samples[:MOST_SAMPLES], [behind[name] for name in chunk])
        for real, on_grid in zip(reals, grid_values, strict=True):
            for name in chunk:
                sums[name] += _sums(real[name], on_grid[behind[name]], grids, name)
    return tuple(
        TensorQuality(name, sqnr_db(s[0], s[1]), float(s[2] / max(s[3], 1))) for name, s in sums.items()
    )


def _sums(real: Array, on_grid: Array, grids: Grids, name: str) -> Array:
    """Signal, noise, values outside the grid, values."""
    grid = grids.activations[name]
    half = grid.scale / 2
    outside = int(((real > grid.high + half) | (real < grid.low - half)).sum())
    error = np.subtract(on_grid, real, dtype=np.float64).ravel()
    flat = real.astype(np.float64).ravel()
    return np.array([flat @ flat, error @ error, outside, real.size])
