"""One network of an example through all steps: trained or decomposed, reconstructed, tuned, exported.

    dense -> compress -> reconstruct without labels -> fine-tune with the dense teacher -> export -> accuracy
                                                                                        -> int8, per runtime

A network from random weights is trained on the labels alone.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from examples.cases import Case, plan_for
from examples.int8 import Integers, Quantising, file_scores
from examples.tasks import Data, Task
from tdedge import torch_layers
from tdedge.artifact import atomic_file, read_manifest
from tdedge.compress import CompressionReport, compress
from tdedge.modules import ChainLayer, FactorLayer
from tdedge.plan import CompressionPlan
from tdedge.progress import SILENT, Progress
from tdedge.training.finetune import finetune
from tdedge.training.reconstruct import reconstruct
from tdedge_exporters.export import export

TARGET = "onnxruntime"
_NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Row:
    """What became of one case at one seed; accuracies are shares of the test samples.

    Attributes:
        label: of the case, see :class:`examples.cases.Case`; ``dense`` for the dense network.
        ranks: layer -> format and ranks.
        macs_ratio: multiply-accumulates of the dense network over this one's.
        params_ratio: the same of the parameters.
        decomposed: accuracy as decomposed; None where nothing was decomposed.
        reconstructed: accuracy after the local reconstruction.
        tuned: accuracy after training.
        exported: accuracy of the exported file in its runtime; None where it was not exported.
        int8: runtime -> the network on integers; empty where it was not exported.
    """

    label: str
    ranks: dict[str, str]
    macs_ratio: float
    params_ratio: float
    decomposed: float | None
    reconstructed: float | None
    tuned: float
    exported: float | None
    int8: dict[str, Integers] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to export."""
        return self.exported is not None and bool(self.int8)


@dataclass(frozen=True)
class Run:
    """One task at one seed.

    Attributes:
        task: the example.
        seed: of the data, the weights and the order of the samples.
        times: how many times fewer multiply-accumulates and parameters are asked for.
        folder: where rows, weights and artifacts are kept; what is there is not done again.
        effort: of planning the exported networks; None to export none.
        progress: told about every step.
    """

    task: Task
    seed: int
    times: float
    folder: Path
    effort: str | None = "normal"
    progress: Progress = SILENT

    def dense(self, data: Data) -> tuple[nn.Module, Row]:
        """The trained dense network and its row."""
        network = self.task.network(self.seed)
        row = self._known("dense")
        if row is None:
            settings = replace(self.task.dense, seed=self.seed)
            finetune(network, data.inputs, data.labels, settings, progress=self.progress)
            row = Row("dense", {}, 1.0, 1.0, None, None, accuracy(network, data), None)
            self._keep(row, network)
        network.load_state_dict(self._weights("dense"))
        network.eval()
        if self.effort is not None and row.exported is None:
            self._export(network, data, "dense-plain", "none")
        return network, self._exported(row, network, data)

    def case(self, case: Case, dense: nn.Module, data: Data) -> Row:
        """One case, from the dense network to the file."""
        plan = self.plan(case, dense, data)
        row = self._known(case.label)
        if row is None:
            row = self._made(case, plan, dense, data)
        if self.effort is None or row.is_done:
            return row
        return self._exported(row, self._untrained(case, plan, data)[0], data)

    def _made(self, case: Case, plan: CompressionPlan, dense: nn.Module, data: Data) -> Row:
        decomposed = reconstructed = None
        if case.init == "scratch":
            network, report = self._untrained(case, plan, data)
            settings = replace(self.task.scratch or self.task.dense, seed=self.seed)
            finetune(network, data.inputs, data.labels, settings, progress=self.progress)
        else:
            network = copy.deepcopy(dense)
            report = compress(network, plan, example=data.inputs[:1], progress=self.progress)
            decomposed = accuracy(network, data)
            calibration = self._calibration(data)
            ridge, sweeps = self.task.ridge, self.task.sweeps
            reconstruct(network, dense, calibration, ridge=ridge, sweeps=sweeps, progress=self.progress)
            reconstructed = accuracy(network, data)
            settings = replace(self.task.tune, seed=self.seed)
            finetune(network, data.inputs, data.labels, settings, teacher=dense, progress=self.progress)
        macs, params = report.ratios["macs"], report.ratios["params"]
        right = accuracy(network, data)
        row = Row(case.label, _ranks(report), macs, params, decomposed, reconstructed, right, None)
        self._keep(row, network)
        return row

    def _untrained(
        self, case: Case, plan: CompressionPlan, data: Data
    ) -> tuple[nn.Module, CompressionReport]:
        """The network of a case with random weights."""
        network = self.task.network(self.seed)
        rules = {name: rule.model_copy(update={"init": "scratch"}) for name, rule in plan.layers.items()}
        random = plan.model_copy(update={"layers": rules})
        report = compress(network, random, example=data.inputs[:1])
        if case.init == "scratch":
            _normalise(network)
        return network, report

    def plan(self, case: Case, dense: nn.Module, data: Data) -> CompressionPlan:
        """The compression plan of a case."""
        layers = torch_layers.find(dense, torch_layers.as_inputs(data.inputs[:1]))
        sites = {name: layer.site for name, layer in layers.items()}
        published: Mapping[str, Any] | None = self.task.published.get(case.format)
        return plan_for(case, sites, times=self.times, keep=self.task.keep, published=published)

    def _calibration(self, data: Data) -> Tensor:
        """Inputs to reconstruct on, drawn from those to learn from."""
        order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(self.seed))
        return data.inputs[order[: self.task.calibration]]

    def _exported(self, row: Row, network: nn.Module, data: Data) -> Row:
        """The row with the accuracy of the exported files, where networks are exported."""
        if self.effort is None or row.is_done:
            return row
        network.load_state_dict(self._weights(row.label))
        network.eval()
        folder = self.folder / row.label
        if row.exported is None:
            self._export(network, data, row.label, self.effort)
            row = replace(row, exported=file_accuracy(folder, data))
            self._keep(row, network)
        name = read_manifest(folder).inputs[0].name
        quantising = Quantising(data, name, self._calibration(data), self.effort, self.progress)
        row = replace(row, int8=quantising.integers(network, folder))
        self._keep(row, network)
        return row

    def _export(self, network: nn.Module, data: Data, label: str, effort: str) -> None:
        example = data.inputs[:1].contiguous()
        folder = self.folder / label
        export(
            network, folder, to=TARGET, effort=effort, example=example, force=True, progress=self.progress
        )  # fmt: skip

    def _known(self, label: str) -> Row | None:
        path = self.folder / f"{label}.json"
        if not path.exists():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        integers = {runtime: Integers(**each) for runtime, each in values.pop("int8", {}).items()}
        return Row(**values, int8=integers)

    def _keep(self, row: Row, network: nn.Module) -> None:
        with atomic_file(self.folder / f"{row.label}.pt", force=True) as part:
            torch.save(network.state_dict(), part)
        with atomic_file(self.folder / f"{row.label}.json", force=True) as part:
            part.write_text(json.dumps(asdict(row), indent=2) + "\n", encoding="utf-8")

    def _weights(self, label: str) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = torch.load(self.folder / f"{label}.pt", weights_only=True)
        return weights


def accuracy(network: nn.Module, data: Data) -> float:
    """Share of the test samples that ``network``, in evaluation mode, classifies rightly."""
    network.eval()
    with torch.no_grad():
        right = [network(inputs).argmax(1) for inputs in data.test_inputs.split(100)]
    return float((torch.cat(right) == data.test_labels).double().mean())


def file_accuracy(folder: Path, data: Data) -> float:
    """The same of the file in an artifact, one sample at a time in its own runtime."""
    right = file_scores(folder, read_manifest(folder), data.test_inputs).argmax(1)
    return float((right == data.test_labels).double().mean())


def _normalise(network: nn.Module) -> None:
    """Batch normalisation before the activations inside chains, for training; exports fold it in."""
    for chain in network.modules():
        if isinstance(chain, ChainLayer):
            for factor in list(chain.factors)[:-1]:
                if isinstance(factor, FactorLayer) and factor.activation is not None:
                    factor.norm = _NORMS[len(factor.stride)](factor.weight.shape[0])


def _ranks(report: CompressionReport) -> dict[str, str]:
    return {
        row.name: f"{row.format} {', '.join(map(str, row.ranks))}"
        for row in report.rows
        if row.format is not None and row.ranks is not None
    }
