"""Small LiteRT files, written field by field: what the tests of that runtime read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "int8": schema.TensorType.INT8,
    "string": schema.TensorType.STRING,
}


@dataclass(frozen=True)
class Open:
    """A tensor without a value: its shape (-1 for an open extent), and dtype."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Op:
    """One operator: a name of BuiltinOperator, or "CUSTOM:Name", and the names of its tensors.

    ``options`` are those of the table "<kind>Options" in the schema; an empty ``kind`` has none.
    """

    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    kind: str = ""
    options: Mapping[str, Any] | None = None


def tflite_bytes(
    tensors: Mapping[str, Open | np.ndarray],
    ops: Sequence[Op],
    inputs: Sequence[str],
    outputs: Sequence[str],
    signature: tuple[Mapping[str, str], Mapping[str, str]] | None = None,
) -> bytes:
    """A file of one subgraph; ``signature`` maps the names it shows to tensors, inputs and outputs."""
    numbers = {name: index for index, name in enumerate(tensors)}
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(name, value, model.buffers) for name, value in tensors.items()]
    graph.inputs, graph.outputs = ([numbers[name] for name in names] for names in (inputs, outputs))
    codes = list(dict.fromkeys(op.name for op in ops))
    model.operatorCodes = [_code(name) for name in codes]
    graph.operators = [_operator(op, codes.index(op.name), numbers) for op in ops]
    model.subgraphs = [graph]
    if signature is not None:
        shown = schema.SignatureDefT()
        shown.signatureKey, shown.subgraphIndex = "serving_default", 0
        shown.inputs, shown.outputs = (_entries(names, numbers) for names in signature)
        model.signatureDefs = [shown]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, value: Open | np.ndarray, buffers: list) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.buffer = name, 0
    if isinstance(value, Open):
        tensor.shape = [abs(extent) for extent in value.shape]
        tensor.shapeSignature = list(value.shape) if min(value.shape, default=0) < 0 else None
        tensor.type = TYPES[value.dtype]
        return tensor
    tensor.shape, tensor.type, tensor.buffer = list(value.shape), TYPES[value.dtype.name], len(buffers)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    buffers.append(buffer)
    return tensor


def _code(name: str) -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    kind, _, custom = name.partition(":")
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    code.customCode = custom or None
    return code


def _operator(op: Op, code: int, numbers: Mapping[str, int]) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs = [numbers[name] for name in op.inputs]
    operator.outputs = [numbers[name] for name in op.outputs]
    if op.kind:
        table = f"{op.kind}Options"
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
        operator.builtinOptions = getattr(schema, f"{table}T")()
        for key, value in (op.options or {}).items():
            assert hasattr(operator.builtinOptions, key), key
            setattr(operator.builtinOptions, key, value)
    return operator


def _entries(names: Mapping[str, str], numbers: Mapping[str, int]) -> list:
    entries = []
    for shown, tensor in names.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = shown, numbers[tensor]
        entries.append(entry)
    return entries


def relu_bytes() -> bytes:
    """One RELU on a float32 tensor ``x`` of shape [1], to ``y``, with a signature."""
    return tflite_bytes(
        {"x": Open((1,)), "y": Open((1,))},
        [Op("RELU", ["x"], ["y"])],
        ["x"],
        ["y"],
        ({"x": "x"}, {"y": "y"}),
    )


def conv_bytes(channels: int, *, seed: int = 0, signature: bool = True, dtype: str = "float32") -> bytes:
    """The network of ``conv_net`` in tests/runtimes/conftest.py, NCHW outside and NHWC inside.

    Its tensors have other names than its signature; with ``dtype`` "float16" the weights are stored in it.
    """
    rng = np.random.default_rng(seed)
    w1 = rng.standard_normal((channels, 3, 3, 3)).astype(np.float32)
    b1 = rng.standard_normal(channels).astype(np.float32)
    w2 = rng.standard_normal((4, channels, 3, 3)).astype(np.float32)
    tensors = {
        "in": Open((1, 3, 12, 12)),
        "inside": Open((1, 12, 12, 3)),
        "hidden": Open((1, 12, 12, channels)),
        "outside": Open((1, 5, 5, 4)),
        "out": Open((1, 4, 5, 5)),
        "to_nhwc": np.array([0, 2, 3, 1], np.int32),
        "to_nchw": np.array([0, 3, 1, 2], np.int32),
        "b2": np.zeros(4, np.float32),
    }
    ops = []
    for name, value in (("w1", w1.transpose(0, 2, 3, 1)), ("b1", b1), ("w2", w2.transpose(0, 2, 3, 1))):
        if dtype == "float32":
            tensors[name] = value
        else:
            tensors[f"{name}_{dtype}"], tensors[name] = value.astype(dtype), Open(value.shape)
            ops.append(Op("DEQUANTIZE", [f"{name}_{dtype}"], [name], "Dequantize"))
    same, valid, relu = schema.Padding.SAME, schema.Padding.VALID, schema.ActivationFunctionType.RELU
    ops += [
        Op("TRANSPOSE", ["in", "to_nhwc"], ["inside"], "Transpose"),
        Op("CONV_2D", ["inside", "w1", "b1"], ["hidden"], "Conv2D", _conv(1, same, relu)),
        Op("CONV_2D", ["hidden", "w2", "b2"], ["outside"], "Conv2D", _conv(2, valid, 0)),
        Op("TRANSPOSE", ["outside", "to_nchw"], ["out"], "Transpose"),
    ]
    shown = ({"x": "in"}, {"y": "out"}) if signature else None
    return tflite_bytes(tensors, ops, ["in"], ["out"], shown)


def _conv(stride: int, padding: int, activation: int) -> dict[str, int]:
    return {
        "strideW": stride,
        "strideH": stride,
        "padding": padding,
        "fusedActivationFunction": activation,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
    }


def write(path: Path, data: bytes) -> Path:
    """``path``, now with this content."""
    path.write_bytes(data)
    return path
