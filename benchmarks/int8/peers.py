"""Integer files of others, from the same float32 network and the same calibration samples."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.int8.networks import Feed
from benchmarks.peers.convert import start
from benchmarks.peers.environment import cache_folder
from benchmarks.peers.peer import QUANTISERS
from tdedge.errors import UnsupportedError
from tdedge_runtimes.privacy import import_onnxruntime

#: Of ONNX Runtime, run in this process; its file is for both runtimes that read ONNX.
STATIC = "quantize_static"
#: Runtime -> who else makes integer files for it.
PEERS: dict[str, tuple[str, ...]] = {
    "onnxruntime": (STATIC,),
    "openvino": (STATIC, QUANTISERS["openvino"].name),
    "tflite": (QUANTISERS["tflite"].name,),
}


def names(runtime: str, *, quick: bool) -> list[str]:
    """The peers of a runtime; a quick run leaves out those that live in environments of their own."""
    return [name for name in PEERS[runtime] if not quick or name == STATIC]


def make(name: str, runtime: str, sources: Mapping[str, Path], samples: Sequence[Feed], folder: Path) -> Path:
    """The file of one peer.

    Args:
        name: the peer.
        runtime: what the file is for.
        sources: suffix -> float32 file.
        samples: for calibration.
        folder: for the file.

    Raises:
        MissingError: its environment cannot be made.
        UnsupportedError: it fails; the message is its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if name == STATIC:
        return _static(sources[".onnx"], samples, folder / "static.onnx")
    peer = QUANTISERS[runtime]
    data = folder / "samples.npz"
    with data.open("wb") as stream:
        np.savez(stream, **_joined(samples))
    output = folder / ("peer.tflite" if runtime == "tflite" else "peer.xml")
    reason = start(peer.converter(cache_folder()), sources[peer.reads], output, data)
    if reason:
        raise UnsupportedError(reason)
    return output


def _joined(samples: Sequence[Feed]) -> dict[str, Any]:
    return {name: np.concatenate([feed[name] for feed in samples]) for name in samples[0]}


def _static(source: Path, samples: Sequence[Feed], output: Path) -> Path:
    """Activations of 8 bits without sign, weights of 8 bits per channel, as the documentation advises."""
    import_onnxruntime()
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds: Iterator[Feed] = iter(samples)

        def get_next(self) -> Feed | None:
            return next(self.feeds, None)

    logging.getLogger().setLevel(logging.ERROR)  # it advises what is not done to exact rewrites
    try:
        quantization.quantize_static(
            source,
            output,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    except Exception as error:
        raise UnsupportedError(f"{type(error).__name__}: {' '.join(str(error).split())[:240]}") from error
    return output
