"""The last step of an example: a trained network on integers of 8 bits, in every runtime.

Ranges are found on samples to learn from, without their labels; nothing is trained. Where the outputs fall
below a signal-to-noise ratio, the noisiest products stay float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from examples.tasks import Data
from tdedge.artifact import Manifest, read_manifest
from tdedge.errors import GateError
from tdedge.progress import Progress
from tdedge_exporters.export import export
from tdedge_exporters.lowering import Target
from tdedge_exporters.quantize.report import sqnr_db
from tdedge_exporters.quantize.settings import Int8
from tdedge_runtimes.session import open_session

RUNTIMES = ("onnxruntime", "openvino", "tflite")
#: Points of accuracy that integers may cost.
ALLOWED = 0.5
#: Samples for calibration; a quarter of them is held out to judge the file.
_SAMPLES = 64
_SETTINGS = Int8(samples=_SAMPLES, min_sqnr_db=20.0)


@dataclass(frozen=True)
class Integers:
    """A network on integers in one runtime, on the test samples.

    Attributes:
        accuracy: share that is classified rightly; None where there is no file.
        agreement: share that gets the class of the float32 network.
        sqnr_db: energy of the float32 network's scores over that of the error; None without any.
        kept: products that stay float32.
        error: why there is no file; empty where there is one.
    """

    accuracy: float | None = None
    agreement: float | None = None
    sqnr_db: float | None = None
    kept: int = 0
    error: str = ""


@dataclass(frozen=True)
class Quantising:
    """How the networks of one run are put on integers.

    Attributes:
        data: of the task.
        name: of the networks' input.
        calibration: samples to learn from, without labels, (N, C, *spatial).
        effort: of planning.
        progress: told about every export.
    """

    data: Data
    name: str
    calibration: Tensor
    effort: str
    progress: Progress

    def integers(self, network: nn.Module, folder: Path) -> dict[str, Integers]:
        """Runtime -> what became of a network, in evaluation mode; artifacts are put beside ``folder``."""
        with torch.no_grad():
            wanted = torch.cat([network(inputs) for inputs in self.data.test_inputs.split(100)])
        samples = folder.with_name("calibration.npz")
        with samples.open("wb") as stream:
            np.savez(stream, **{self.name: self.calibration[:_SAMPLES].contiguous().numpy()})
        return {runtime: self._one(network, wanted, folder, samples, runtime) for runtime in RUNTIMES}

    def _one(self, network: nn.Module, wanted: Tensor, folder: Path, samples: Path, runtime: str) -> Integers:
        output = folder.with_name(f"{folder.name}-{runtime}-int8")
        try:
            result = export(
                network,
                output,
                to=str(Target(runtime, "int8")),
                effort=self.effort,
                example=self.data.inputs[:1].contiguous(),
                int8=_SETTINGS,
                calibration=samples,
                force=True,
                progress=self.progress,
            )
        except GateError as error:
            return Integers(error=error.message)
        scores = file_scores(output, read_manifest(output), self.data.test_inputs)
        (report,) = result.quality.values()
        return replace(judged(wanted, scores, self.data.test_labels), kept=len(report.kept))


def judged(wanted: Tensor, scores: Tensor, labels: Tensor) -> Integers:
    """Scores (M, classes) beside those of the float32 network."""
    exact, error = wanted.double(), scores.double() - wanted.double()
    classes = scores.argmax(1)
    return Integers(
        float((classes == labels).double().mean()),
        float((classes == wanted.argmax(1)).double().mean()),
        sqnr_db(float(exact.square().sum()), float(error.square().sum())),
    )


def file_scores(folder: Path, manifest: Manifest, inputs: Tensor) -> Tensor:
    """First output (M, classes) of the file in an artifact, one sample at a time in its own runtime."""
    entry = manifest.targets[0]
    name = manifest.inputs[0].name
    with open_session(entry.runtime, folder / entry.entry, threads=1, precision=entry.precision) as session:
        outputs = [
            next(iter(session.run({name: np.ascontiguousarray(sample[None].numpy())}).values()))
            for sample in inputs
        ]
    return torch.from_numpy(np.concatenate(outputs))
