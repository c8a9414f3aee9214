"""A torch network as the two graphs that are compared: the peers' export, and the one our planner gets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxsim
import torch
from torch import nn

from benchmarks.model_zoo.weights import example
from tdedge.cost import network_cost
from tdedge.errors import UsageError
from tdedge_exporters.capture import OPSET, capture
from tdedge_exporters.modules import quiet
from tdedge_exporters.passes.pipeline import clean, compose

_ABOUT = "about.json"


@dataclass(frozen=True)
class Exported:
    """One network on disk.

    Attributes:
        folder: where ``plain.onnx`` (torch.onnx and onnx-simplifier) and ``rewritten.onnx`` (our exact
            rewrites, to be planned) are.
        macs: multiply-accumulates of one inference as the network was built.
        rewritten_macs: what is left of them after the rewrites.
    """

    folder: Path
    macs: int
    rewritten_macs: int

    @property
    def plain(self) -> Path:
        """What peers deploy."""
        return self.folder / "plain.onnx"

    @property
    def rewritten(self) -> Path:
        """What is planned."""
        return self.folder / "rewritten.onnx"

    @classmethod
    def load(cls, folder: Path) -> Exported | None:
        """An export that is complete; None where there is none."""
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return cls(folder, about["macs"], about["rewritten_macs"])


def export_network(network: nn.Module, shape: tuple[int, ...], folder: Path) -> Exported:
    """Write both graphs of ``network`` into ``folder``.

    Raises:
        UsageError: torch or onnx-simplifier cannot express it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    captured = folder / "captured.onnx"
    try:
        with quiet(), torch.no_grad():
            inputs = (example(shape),)
            program = torch.onnx.export(
                network, inputs, dynamo=True, opset_version=OPSET, external_data=False, verbose=False
            )
            assert program is not None
            ir.save(program.model, captured)
        simplified, _ = onnxsim.simplify(onnx.load(captured))
    except Exception as error:
        raise UsageError(f"torch.onnx and onnxsim cannot export the network: {error}") from error
    onnx.save(simplified, folder / "plain.onnx")
    model = capture(captured).model
    captured.unlink()
    clean(model)
    macs = network_cost(model).macs
    compose(model)
    ir.save(model, folder / "rewritten.onnx")
    exported = Exported(folder, macs, network_cost(model).macs)
    about = {key: value for key, value in asdict(exported).items() if key != "folder"}
    (folder / _ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
    return exported
