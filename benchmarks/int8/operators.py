"""What a runtime makes of an int8 file: products on integers, float islands, XNNPACK partitions.

    ONNX Runtime   the graph it optimised
    OpenVINO       the graph it executes
    LiteRT         the operators of the file, and the partitions XNNPACK took

An island is a piece of float32 between integers: operators that read what was dequantised and are quantised
again. OpenVINO does not say which of its operators dequantise, so islands are not counted there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from tdedge_runtimes.privacy import import_onnxruntime, import_openvino
from tdedge_runtimes.session import open_session
from tdedge_runtimes.tflite import start_interpreter

_ORT_INTEGER = {"QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat"}
_ORT_DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
_ORT_FLOAT = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
_TFLITE_PRODUCTS = {"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
_OPENVINO_PRODUCTS = {"Convolution", "FullyConnected", "MatMul", "Deconvolution"}
#: Integers become float32, and the other way round.
_DEQUANTISE, _QUANTISE = {"DequantizeLinear", "DEQUANTIZE"}, {"QuantizeLinear", "QUANTIZE"}


@dataclass(frozen=True)
class Operators:
    """Counts of one file in one runtime.

    Attributes:
        integer: products with constant weights on integers.
        floating: products that stayed float32.
        dynamic: operators that find the range of what they read at run time.
        islands: pieces of float32 between integers; None where the runtime does not tell.
        partitions: pieces XNNPACK took; None elsewhere.
        builtin: operators left to the built-in kernels of LiteRT; None elsewhere.
    """

    integer: int
    floating: int
    dynamic: int = 0
    islands: int | None = None
    partitions: int | None = None
    builtin: int | None = None

    @property
    def share(self) -> float:
        """Share of the products that are on integers."""
        return self.integer / max(self.integer + self.floating, 1)


@dataclass(frozen=True)
class Op:
    """An operator: its kind, and the tensors it reads and gives."""

    kind: str
    reads: tuple[Any, ...]
    gives: tuple[Any, ...]


def operators(runtime: str, path: Path) -> Operators:
    """The counts of a file.

    Raises:
        RuntimesError: the runtime is not installed, or cannot load the file.
    """
    counts: dict[str, Callable[[Path], Operators]] = {
        "onnxruntime": _onnxruntime,
        "openvino": _openvino,
        "tflite": _tflite,
    }
    return counts[runtime](path)


def islands(ops: Sequence[Op]) -> int:
    """Pieces of float operators that lie between a dequantised and a quantised tensor."""
    ends = [op for op in ops if op.kind in _DEQUANTISE | _QUANTISE]
    inner = [op for op in ops if op not in ends]
    after = {each for op in ends if op.kind in _DEQUANTISE for each in op.gives}
    before = {each for op in ends if op.kind in _QUANTISE for each in op.reads}
    for op in inner:  # in the order of execution
        if after & set(op.reads):
            after.update(op.gives)
    for op in reversed(inner):
        if before & set(op.gives):
            before.update(op.reads)
    pieces: list[set[Any]] = []  # of the tensors that their operators read or give
    for op in inner:
        if not (after & set(op.reads) and before & set(op.gives)):
            continue
        tensors = {*(set(op.reads) & after), *op.gives}
        pieces, joined = [each for each in pieces if not each & tensors], [*pieces]
        pieces.append(tensors.union(*(each for each in joined if each & tensors)))
    return len(pieces)


def _onnxruntime(path: Path) -> Operators:
    runtime = import_onnxruntime()
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.optimized_model_filepath = str(optimised)
        runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(optimised).graph
    ops = [
        Op(node.op_type, tuple(filter(None, node.input)), tuple(filter(None, node.output)))
        for node in graph.node
    ]
    integer = sum(op.kind in _ORT_INTEGER for op in ops)
    floating = sum(op.kind in _ORT_FLOAT for op in ops)
    dynamic = sum(op.kind in _ORT_DYNAMIC for op in ops)
    return Operators(integer, floating, dynamic, islands(ops))


def _openvino(path: Path) -> Operators:
    runtime = import_openvino()
    options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = runtime.Core().compile_model(str(path), "CPU", options)
    kernels = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        about = node.get_rt_info()
        if "layerType" in about and str(about["layerType"].value) in _OPENVINO_PRODUCTS:
            kernels.append(str(about["primitiveType"].value))
    integer = sum(kernel.lower().endswith("_i8") for kernel in kernels)
    return Operators(integer, len(kernels) - integer)


def _tflite(path: Path) -> Operators:
    with open_session("tflite", path, threads=1) as session:
        execution = session.describe()["execution"]
    interpreter: Any = start_interpreter().Interpreter(model_path=str(path), num_threads=1)
    types = {int(each["index"]): each["dtype"].__name__ for each in interpreter.get_tensor_details()}
    integer = floating = dynamic = 0
    ops = []
    for op in interpreter._get_ops_details():  # there is no public call
        reads, gives = tuple(map(int, op["inputs"])), tuple(map(int, op["outputs"]))
        kind = str(op["op_name"])
        if kind == "DELEGATE":
            continue
        if kind in _TFLITE_PRODUCTS:
            data, weight = types[reads[0]], types[reads[1]]
            integer += data == "int8"
            floating += data != "int8" and weight != "int8"
            dynamic += data != "int8" and weight == "int8"
        ops.append(Op(kind, reads, gives))
    partitions, builtin = execution["delegate_partitions"], execution["builtin_operators"]
    return Operators(
        integer,
        floating + dynamic,
        dynamic,
        islands(ops),
        partitions if isinstance(partitions, int) else None,
        builtin if isinstance(builtin, int) else None,
    )
