"""One point of the comparison: a network at a plan, its accuracy and its latency."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx_ir as ir
import torch
from torch import Tensor, nn

from benchmarks.ranks.choosing import WAYS, plans
from benchmarks.ranks.networks import NETWORKS, Network
from examples.steps import accuracy
from examples.tasks import Data
from tdedge.artifact import atomic_file
from tdedge.compress import compress
from tdedge.progress import Progress
from tdedge.ranks.sensitivity import moment_error
from tdedge.training.activations import input_moments
from tdedge.training.finetune import finetune
from tdedge.training.reconstruct import reconstruct
from tdedge_exporters.budgeting import TargetTimes, read_dense
from tdedge_exporters.capture import capture
from tdedge_exporters.prepare import Source
from tdedge_runtimes.client import measure_models
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.statistics import ratio_of_medians

_DENSE = "dense"
_CALIBRATION = 128  # samples without labels
#: Of the local reconstruction: the same for every way.
_RIDGE, _SWEEPS = 1e-3, 2


@dataclass(frozen=True)
class Point:
    """A network of one seed at one plan.

    Attributes:
        way: how its ranks were chosen, one of :data:`benchmarks.ranks.choosing.WAYS`, or ``dense``.
        index: which budget.
        macs_share: of the dense multiply-accumulates.
        decomposed: accuracy as decomposed.
        accuracy: after the local reconstruction, without labels.
        latency_ms: median, planned.
        share: of the dense latency, both planned, in one interleaved run.
    """

    way: str
    index: int
    macs_share: float
    decomposed: float
    accuracy: float
    latency_ms: float
    share: float


@dataclass(frozen=True)
class Study:
    """One network at one seed.

    Attributes:
        name: of the network.
        network: what is trained.
        seed: of data and weights.
        folder: where weights and points are kept; what is there is not done again.
        times: on the target.
        options: how whole networks are timed.
        progress: told about the steps.
    """

    name: str
    network: Network
    seed: int
    folder: Path
    times: TargetTimes
    options: MeasureOptions
    progress: Progress

    def points(self) -> list[Point]:
        """Dense first, then every way at every budget."""
        path = self.folder / f"{stem(self.name, self.seed)}.json"
        if path.exists():
            return [Point(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
        data = self.network.load(self.seed)
        dense = trained(self.name, self.seed, data, self.folder, self.progress)
        found = self._measured(dense, data)
        with atomic_file(path, force=True) as part:
            part.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", encoding="utf-8")
        return found

    def _measured(self, network: nn.Module, data: Data) -> list[Point]:
        network.example_input = data.inputs[:1].contiguous()  # type: ignore[assignment]
        dense = read_dense(Source(network))
        calibration = _calibration(data.inputs, self.seed)
        error = moment_error(input_moments(network, calibration, list(dense.sites)))
        chosen = plans(dense, self.network, error, self.times)
        right = accuracy(network, data)
        found = [Point(_DENSE, 0, 1.0, right, right, 0.0, 1.0)]
        files = {f"{_DENSE} 0": self._file(dense.model, _DENSE)}
        for way, index, plan in [(each, i, p) for each in WAYS for i, p in enumerate(chosen[each])]:
            small = copy.deepcopy(network)
            report = compress(small, plan, example=dense.example)
            before = accuracy(small, data)
            reconstructed(small, network, data.inputs, self.seed)
            share = 1 / report.ratios["macs"]
            found.append(Point(way, index, share, before, accuracy(small, data), 0.0, 0.0))
            model = capture(small, example=dense.example).model
            files[f"{way} {index}"] = self._file(model, f"{way}-{index}")
            self.progress.start(f"{self.name} {self.seed}: {way} {index}", 1)
            self.progress.finish()
        return _timed(found, files, self.options, str(self.times.target.runtime))

    def _file(self, model: ir.Model, label: str) -> Path:
        """The planned file of a captured network."""
        return self.times.planned_file(model, self.folder / f"{stem(self.name, self.seed)}-files" / label)


def stem(name: str, seed: int) -> str:
    """Begin of the names of the files of a network and seed; those of other data are not used again."""
    return f"{name}-{NETWORKS[name].revision}-{seed}"


def trained(name: str, seed: int, data: Data, folder: Path, progress: Progress) -> nn.Module:
    """The trained dense network of a seed, in evaluation mode; its weights are kept in ``folder``."""
    own = NETWORKS[name]
    path = folder / f"{stem(name, seed)}.pt"
    network = own.make(seed)
    if not path.exists():
        finetune(network, data.inputs, data.labels, replace(own.settings, seed=seed), progress=progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, force=True) as part:
            torch.save(network.state_dict(), part)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def reconstructed(small: nn.Module, dense: nn.Module, inputs: Tensor, seed: int) -> None:
    """The local reconstruction of a decomposed network, in place, on some of the inputs to learn from."""
    reconstruct(small, dense, _calibration(inputs, seed), ridge=_RIDGE, sweeps=_SWEEPS)


def _calibration(inputs: Tensor, seed: int) -> Tensor:
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    return inputs[order[:_CALIBRATION]]


def _timed(
    points: Sequence[Point], files: Mapping[str, Path], options: MeasureOptions, runtime: str
) -> list[Point]:
    """The points with the latency of their files, all in one interleaved run."""
    specs = {label: {"path": str(path), "runtime": runtime} for label, path in files.items()}
    result = measure_models(specs, options, memory=False, timeout_s=1800.0)
    samples = {label: model["latency"]["samples_ms"] for label, model in result["models"].items()}
    whole = samples[f"{_DENSE} 0"]
    found = []
    for each in points:
        label = f"{each.way} {each.index}"
        latency_ms = result["models"][label]["latency"]["median_ms"]
        found.append(
            replace(each, latency_ms=latency_ms, share=ratio_of_medians(samples[label], whole).value)
        )
    return found
