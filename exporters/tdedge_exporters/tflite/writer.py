"""A program as a ``.tflite`` file: the FlatBuffer schema of TensorFlow Lite, written without TensorFlow.

The schema's Python classes come with LiteRT. Buffers start at multiples of 16 bytes, as the schema's
``force_align: 16`` demands and its generated Python code ignores; buffer 0 is the empty one; both operator
code fields are set, so that runtimes from before 2021 read the file too. Equal constants are stored once.

Source: ``tensorflow/compiler/mlir/lite/schema/schema.fbs`` (schema version 3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tdedge.errors import UnsupportedError
from tdedge_exporters.tflite.program import Op, Program, Scales, Tensor

SIGNATURE = "serving_default"

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "float64": schema.TensorType.FLOAT64,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}

#: A FlatBuffer addresses with signed 32-bit offsets.
_MOST_BYTES = 2**31 - 2**20

#: Operator codes from here on do not fit the old one-byte field, which then holds this value.
_PLACEHOLDER = 127


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose bytes start at a multiple of 16."""

    def Pack(self, builder: Any) -> Any:
        if self.data is None:
            return super().Pack(builder)
        size = len(self.data)
        builder.StartVector(1, size, 16)
        builder.head -= size
        builder.Bytes[builder.head : builder.head + size] = self.data
        offset = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, offset)
        return schema.BufferEnd(builder)


def write(program: Program, metadata: Mapping[str, bytes]) -> bytes:
    """The file.

    Args:
        program: names of its tensors must be unique and not empty.
        metadata: name -> content of the file's metadata buffers.

    Raises:
        UnsupportedError: when the constants exceed the 2 GiB a FlatBuffer can hold.
    """
    return _Writer(program).file(metadata)


class _Writer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.tensors: list[Tensor] = []
        self.index: dict[Tensor, int] = {}
        self.buffers: list[Any] = [_buffer(None)]
        self.stored: dict[bytes, int] = {}
        self.codes: dict[tuple[str, int], int] = {}
        self.bytes = 0

    def file(self, metadata: Mapping[str, bytes]) -> bytes:
        program = self.program
        for _, tensor in program.inputs:
            self._add(tensor)
        operators = [self._operator(op) for op in program.ops]
        for _, tensor in program.outputs:
            self._add(tensor)
        graph = schema.SubGraphT()
        graph.name = "main"
        graph.tensors = [self._tensor(tensor) for tensor in self.tensors]
        graph.operators = operators
        graph.inputs = [self.index[tensor] for _, tensor in program.inputs]
        graph.outputs = [self.index[tensor] for _, tensor in program.outputs]
        model = schema.ModelT()
        model.version = 3
        model.description = "tdedge"
        model.subgraphs = [graph]
        model.operatorCodes = [_code(name, version) for name, version in self.codes]
        model.signatureDefs = [self._signature()]
        model.metadata = [self._metadata(name, content) for name, content in metadata.items()]
        model.buffers = self.buffers
        if self.bytes > _MOST_BYTES:
            raise UnsupportedError(
                f"tflite: {self.bytes / 2**30:.1f} GiB of constants; a .tflite file holds less than 2 GiB: "
                "compress the network, or leave tflite out of --to"
            )
        builder = flatbuffers.Builder(self.bytes + 2**16)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _add(self, tensor: Tensor) -> int:
        if tensor not in self.index:
            self.index[tensor] = len(self.tensors)
            self.tensors.append(tensor)
        return self.index[tensor]

    def _operator(self, op: Op) -> Any:
        made = schema.OperatorT()
        key = (op.code, op.version)
        made.opcodeIndex = self.codes.setdefault(key, len(self.codes))
        made.inputs = [-1 if tensor is None else self._add(tensor) for tensor in op.inputs]
        made.outputs = [self._add(tensor) for tensor in op.outputs]
        if op.options is not None:
            made.builtinOptions = op.options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(op.options).__name__[:-1])
        return made

    def _tensor(self, tensor: Tensor) -> Any:
        made = schema.TensorT()
        made.name = tensor.name
        made.shape = list(tensor.shape)
        made.type = _TYPES[tensor.dtype.name]
        made.buffer = 0 if tensor.data is None else self._data(tensor.data.astype(tensor.dtype).tobytes())
        made.hasRank = True
        if tensor.scales is not None:
            made.quantization = _quantization(tensor.scales)
        return made

    def _data(self, content: bytes) -> int:
        if not content:
            return 0
        digest = hashlib.sha256(content).digest()
        if digest not in self.stored:
            self.stored[digest] = len(self.buffers)
            self.buffers.append(_buffer(content))
            self.bytes += len(content) + 64
        return self.stored[digest]

    def _signature(self) -> Any:
        made = schema.SignatureDefT()
        made.signatureKey = SIGNATURE
        made.subgraphIndex = 0
        made.inputs = [self._named(name, tensor) for name, tensor in self.program.inputs]
        made.outputs = [self._named(name, tensor) for name, tensor in self.program.outputs]
        return made

    def _named(self, name: str, tensor: Tensor) -> Any:
        made = schema.TensorMapT()
        made.name = name
        made.tensorIndex = self.index[tensor]
        return made

    def _metadata(self, name: str, content: bytes) -> Any:
        made = schema.MetadataT()
        made.name = name
        made.buffer = self._data(content)
        return made


def _quantization(scales: Scales) -> Any:
    made = schema.QuantizationParametersT()
    made.scale = scales.scales.astype(np.float32)
    made.zeroPoint = np.full(len(scales.scales), scales.zero_point, np.int64)
    made.quantizedDimension = scales.axis
    return made


def _buffer(content: bytes | None) -> Any:
    made = _AlignedBuffer()
    made.data = content
    return made


def _code(name: str, version: int) -> Any:
    made = schema.OperatorCodeT()
    code = getattr(schema.BuiltinOperator, name)
    made.builtinCode = code
    made.deprecatedBuiltinCode = min(code, _PLACEHOLDER)
    made.version = version
    return made


def element_type(dtype: np.dtype[Any]) -> int:
    """The schema's ``TensorType`` of a NumPy type.

    Raises:
        KeyError: when the format has none.
    """
    return int(_TYPES[dtype.name])
