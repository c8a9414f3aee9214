"""What the activations of a network are like on the user's data: ranges, histograms, means per channel.

ONNX Runtime computes the float32 network; inner tensors are read out in groups of bounded size, so that 3-D
networks fit into memory. Two runs over the data: the first finds the range of every tensor, the second fills
histograms between its ends.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tdedge.errors import UsageError
from tdedge.progress import SILENT, Progress
from tdedge_exporters import graph as g
from tdedge_exporters.quantize.grids import Array
from tdedge_runtimes.privacy import import_onnxruntime

#: Bins of a histogram.
BINS = 2048
#: Bytes of inner tensors that are read out together.
_MOST_BYTES = 256 * 2**20


@dataclass
class Statistics:
    """One tensor over all samples.

    Attributes:
        low: smallest value.
        high: largest.
        histogram: (BINS,) counts between ``low`` and ``high``; empty where none was asked for.
        channel_low: (C,) smallest value of every channel (axis 1); one channel where there is no axis 1.
        channel_high: (C,) largest.
        channel_mean: (C,) mean.
        channel_power: (C,) mean square.
        count: samples.
        lows: smallest value of every sample.
        highs: largest.
    """

    low: float
    high: float
    histogram: Array
    channel_low: Array
    channel_high: Array
    channel_mean: Array
    channel_power: Array
    count: int = 0
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)

    @property
    def edges(self) -> Array:
        """(BINS + 1,) ends of the bins."""
        return np.linspace(self.low, self.high, len(self.histogram) + 1)


class Runner:
    """Runs a model in ONNX Runtime and reads out inner tensors.

    Args:
        model: float32 or quantised; not changed.
        optimised: False computes every node as it is written, quantisation rounded but not fused.
    """

    def __init__(self, model: ir.Model, *, optimised: bool = True, threads: int = 0) -> None:
        self.model = model.clone()
        self._ort = import_onnxruntime()
        self._options = self._ort.SessionOptions()
        self._options.log_severity_level = 4
        self._options.intra_op_num_threads = threads
        if not optimised:
            self._options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._own = [value.name for value in self.model.graph.outputs]
        graph = self.model.graph
        self._values = {v.name: v for node in graph for v in node.outputs} | {v.name: v for v in graph.inputs}

    def run(self, samples: Sequence[Mapping[str, Array]], names: Sequence[str]) -> Iterator[dict[str, Array]]:
        """The named tensors for one sample after the other, those that are inputs too."""
        inputs = {value.name for value in self.model.graph.inputs}
        made = [name for name in names if name not in inputs]
        outputs = self.model.graph.outputs
        outputs.clear()
        outputs.extend(self._values[name] for name in made or self._own)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            ir.save(self.model, path)
            session = self._ort.InferenceSession(str(path), self._options, providers=["CPUExecutionProvider"])
        for sample in samples:
            got = session.run(made or None, dict(sample))
            found = dict(zip(made, got, strict=False)) if made else {}
            yield found | {name: sample[name] for name in names if name in inputs}

    def chunks(self, names: Sequence[str]) -> list[list[str]]:
        """``names`` in groups whose tensors fit into memory together."""
        groups: list[list[str]] = [[]]
        size = 0
        for name in names:
            sizes = g.dims(self._values[name]) or ()
            each = 4 * math.prod(int(s) for s in sizes if isinstance(s, int))
            if groups[-1] and size + each > _MOST_BYTES:
                groups.append([])
                size = 0
            groups[-1].append(name)
            size += each
        return [group for group in groups if group]


def split_samples(
    model: ir.Model, arrays: Mapping[str, Array], most: int | None = None
) -> list[dict[str, Array]]:
    """Feeds of the network's own batch size from arrays with samples on their first axis.

    Raises:
        UsageError: there are fewer samples than one batch holds.
    """
    batch = max((int((g.dims(value) or (1,))[0] or 1) for value in model.graph.inputs), default=1)
    count = min(len(array) for array in arrays.values())
    if count < batch:
        raise UsageError(f"{count} samples to calibrate on; the network takes {batch} at a time: give more")
    starts = range(0, count - batch + 1, batch)
    return [{name: array[at : at + batch] for name, array in arrays.items()} for at in list(starts)[:most]]


def observe(
    model: ir.Model,
    names: Sequence[str],
    samples: Sequence[Mapping[str, Array]],
    *,
    histograms: bool = True,
    progress: Progress = SILENT,
) -> dict[str, Statistics]:
    """Statistics of the named tensors.

    Raises:
        UsageError: no samples, or a tensor that is not finite on them.
    """
    if not samples:
        raise UsageError("there is no sample to calibrate on")
    runner = Runner(model)
    chunks = runner.chunks(names)
    found: dict[str, Statistics] = {}
    total = len(chunks) * len(samples) * (1 + histograms)
    progress.start("Calibrate", total)
    for chunk in chunks:
        for values in runner.run(samples, chunk):
            for name in chunk:
                _widen(found, name, values[name])
            progress.step("")
        if not histograms:
            continue
        for values in runner.run(samples, chunk):
            for name in chunk:
                one = found[name]
                one.histogram += np.histogram(values[name], BINS, (one.low, one.high))[0]
            progress.step("")
    progress.finish()
    for one in found.values():
        one.channel_mean /= one.count
        one.channel_power /= one.count
    return found


def _widen(found: dict[str, Statistics], name: str, value: Array) -> None:
    rows = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1) if value.ndim > 1 else value.reshape(1, -1)
    low, high = rows.min(axis=1), rows.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise UsageError(f"tensor {name!r} is not finite on the calibration data")
    mean = rows.mean(axis=1, dtype=np.float64)
    power = np.einsum("ij,ij->i", rows, rows, dtype=np.float64) / rows.shape[1]
    one = found.get(name)
    if one is None:
        one = found[name] = Statistics(
            0.0, 0.0, np.zeros(BINS), low.copy(), high.copy(), np.zeros_like(mean), np.zeros_like(power)
        )
    np.minimum(one.channel_low, low, out=one.channel_low)
    np.maximum(one.channel_high, high, out=one.channel_high)
    one.low, one.high = float(one.channel_low.min()), float(one.channel_high.max())
    if one.high <= one.low:
        one.high = one.low + 1e-7
    one.lows.append(float(low.min()))
    one.highs.append(float(high.max()))
    one.channel_mean += mean
    one.channel_power += power
    one.count += 1
