"""What a converter is: a name, the kind of file it reads, and how it is started."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.environment import Environment, environment

OURS = "tdedge"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Converter:
    """One way from a network to a .tflite file, run as a process.

    Attributes:
        name: what the tables call it.
        reads: suffix of its source, ``.pt2``, ``.onnx`` or ``.tflite``.
        command: what starts it; the source and the output file are appended, of a quantiser the samples too.
        variables: environment variables of the process, beside the caller's.
        installed_bytes: size of its environment; None for this project, which has no environment of its own.
    """

    name: str
    reads: str
    command: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)
    installed_bytes: int | None = None


@dataclass(frozen=True)
class Peer:
    """A converter that lives in an environment of its own.

    Attributes:
        name: distribution and version.
        reads: suffix of its source.
        module: stem of its script, and of its list of pinned packages, in this folder.
    """

    name: str
    reads: str
    module: str

    def converter(self, cache: Path) -> Converter:
        """The converter, its environment made where it is not there yet.

        Raises:
            MissingError: the environment cannot be made.
        """
        made: Environment = environment(self.module, _FOLDER / f"{self.module}.txt", cache)
        # Peers start commands of their own environment by name, and must not find those of this one.
        paths = os.pathsep.join((str(made.binaries), os.environ.get("PATH", os.defpath)))
        variables = {"PATH": paths, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
        command = (str(made.python), "-I", str(_FOLDER / f"{self.module}.py"))
        return Converter(self.name, self.reads, command, variables, made.installed_bytes)


PEERS = (
    Peer("litert-torch 0.10.0", ".pt2", "litert_torch"),
    Peer("onnx2tf 1.29.24", ".onnx", "onnx2tf"),
)

#: Runtime -> who else makes integer files for it, from float32 files and samples.
QUANTISERS = {
    "openvino": Peer("nncf 3.4.0", ".onnx", "nncf"),
    "tflite": Peer("ai-edge-quantizer 0.10.0", ".tflite", "ai_edge_quantizer"),
}


def ours() -> Converter:
    """This project's exporter, started the same way as the peers."""
    return Converter(OURS, ".onnx", (sys.executable, "-P", str(_FOLDER / "tdedge_export.py")))
