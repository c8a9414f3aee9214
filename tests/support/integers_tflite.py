"""Quantise a small network and lower it to integers: what the tests of int8 ``.tflite`` files need."""

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
from support.graphs import Net
from support.lowering_tflite import LoweredFile, loaded

from tdedge_exporters.export import rewrite
from tdedge_exporters.lowering import Options
from tdedge_exporters.quantize.quantize import quantize
from tdedge_exporters.quantize.settings import Int8
from tdedge_exporters.tflite.target import lower

_SAMPLES = 4


@dataclass(frozen=True)
class Integers:
    """A quantised network in two runtimes.

    Attributes:
        real: the float32 network.
        model: the QDQ graph.
        file: the lowered file.
        feed: inputs, among those calibrated on: nothing is cut off.
    """

    real: ir.Model
    model: ir.Model
    file: LoweredFile
    feed: dict[str, np.ndarray]

    def outputs(self) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """Of the float32 network, of the QDQ graph in ONNX Runtime, of the file."""
        made = self.file.run(self.feed)
        names = [str(value.name) for value in self.model.graph.outputs]
        return _run(self.real, self.feed), _run(self.model, self.feed), [made[name] for name in names]

    def details(self) -> list[dict]:
        """The file's tensors, without what XNNPACK adds."""
        return [d for d in self.file.interpreter.get_tensor_details() if d["name"]]

    def floats(self) -> set[str]:
        """Names of the file's float32 tensors."""
        return {d["name"] for d in self.details() if d["dtype"] == np.float32}


def integers(
    net: Net,
    *outputs: str,
    layout: str = "nchw",
    integer_io: bool = False,
    keep: Collection[str] = (),
    non_negative: bool = False,
) -> Integers:
    """The network quantised on random samples and lowered."""
    model, _ = rewrite(net.model(*outputs))
    feeds = [{"x": net.sample()} for _ in range(_SAMPLES)]
    if non_negative:
        feeds = [{"x": np.abs(feed["x"])} for feed in feeds]
    made = quantize(model, feeds, Int8(method="minmax", keep=tuple(keep))).model
    with tempfile.TemporaryDirectory() as folder:
        options = Options(input_layout=layout, integer_io=integer_io)
        written = lower(made, Path(folder), "int8", options)
        file = loaded(written.entry.read_bytes(), layout, written.notes)
    return Integers(model, made, file, feeds[-1])


def sqnr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    """Signal-to-noise ratio in decibels."""
    wanted, got = wanted.astype(np.float64), got.astype(np.float64)
    return float(10 * np.log10((wanted**2).sum() / max(((wanted - got) ** 2).sum(), 1e-30)))


def _run(model: ir.Model, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    content = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feed)
