"""What the activations of a network are like on the user's data.

ONNX Runtime computes the float32 network, once for every sample; inner tensors are read out in groups of
bounded size, so that 3-D networks fit into memory.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from tdedge.errors import UsageError
from tdedge.progress import SILENT, Progress
from tdedge_exporters import graph as g
from tdedge_exporters.quantize.grids import Array
from tdedge_exporters.quantize.statistics import Statistics
from tdedge_runtimes.privacy import import_onnxruntime

#: Bytes of inner tensors that are read out together.
_MOST_BYTES = 256 * 2**20


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
    parts: int = 1,
    *,
    histograms: bool = True,
    progress: Progress = SILENT,
) -> list[dict[str, Statistics]]:
    """Statistics of the named tensors, for every part of the samples: part k has those k, k + parts, ...

    Raises:
        UsageError: no samples, or a tensor that is not finite on them.
    """
    if not samples:
        raise UsageError("there is no sample to calibrate on")
    runner = Runner(model)
    chunks = runner.chunks(names)
    found: list[dict[str, Statistics]] = [{} for _ in range(min(parts, len(samples)))]
    progress.start("Calibrate", len(chunks) * len(samples))
    for chunk in chunks:
        for at, values in enumerate(runner.run(samples, chunk)):
            part = found[at % parts]
            for name in chunk:
                one = Statistics.of(values[name], histogram=histograms)
                if not math.isfinite(one.high - one.low):
                    raise UsageError(f"tensor {name!r} is not finite on the calibration data")
                part[name] = part[name] + one if name in part else one
            progress.step("")
    progress.finish()
    return found
