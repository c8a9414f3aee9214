"""Read a ``.onnx`` file that nobody vouches for.

Nothing outside the file's own folder is opened, and nothing is loaded before every size was checked: the
file itself, then every tensor's length against its shape, then every piece of external data (a plain
file inside the folder: no absolute path, no ``..``, no symbolic or hard link, the range within the file,
all pieces together within a limit).
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import onnx
import onnx.inliner
import onnx_ir as ir
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from tdedge.errors import UsageError
from tdedge_exporters.static import brief, through_onnx

#: The operator set everything after capture is written for.
OPSET = 18
#: The newest one that the runtimes read; newer networks are refused, older than :data:`OPSET` converted.
MAX_OPSET = 26
#: A protobuf message cannot be larger; weights beyond it are external data.
MAX_FILE_BYTES = (2 << 30) - 1
#: All external data together.
MAX_EXTERNAL_BYTES = 8 << 30

_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
_MIN_IR_VERSION = 8


def read_onnx(path: Path, notes: list[str]) -> ir.Model:
    """The checked network in ``path``: standard operators of :data:`OPSET` or newer, no local functions.

    Raises:
        UsageError: when the file is not readable, not valid, not safe or not supported.
    """
    proto = _parse(path)
    _check_tensors(proto, path)
    opset = _opset(proto, path)
    try:
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
        onnx.load_external_data_for_model(proto, str(path.absolute().parent))
        model = ir.from_proto(proto)
        through_onnx(model, _check)
        for value in model.graph.initializers.values():
            if value.const_value is not None:
                value.const_value.numpy()
    except Exception as error:
        raise UsageError(f"{path} is not a valid ONNX model: {brief(error)}") from error
    check_operators(model)
    model.ir_version = max(model.ir_version, _MIN_IR_VERSION)
    if opset > OPSET:
        notes.append(f"opset {opset} is newer than {OPSET} and kept; older runtimes may not read it")
    return model if opset >= OPSET else _upgrade(model, opset)


def check_operators(model: ir.Model) -> None:
    """Refuse operators outside the ONNX standard, and those that are not the same on every run.

    Raises:
        UsageError: names the node.
    """
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        name = node.name or (node.outputs[0].name if node.outputs else "")
        if node.domain not in ("", "ai.onnx"):
            raise UsageError(
                f"node {name!r} is {node.op_type} of domain {node.domain!r}; only standard ONNX operators "
                "are supported, export the network without custom ones"
            )
        mode = node.attributes.get("training_mode")
        if node.op_type in _RANDOM or (
            mode is not None and mode.type == ir.AttributeType.INT and mode.as_int()
        ):
            raise UsageError(
                f"node {name!r} ({node.op_type}) computes another result on every run or batch; "
                "export the network in evaluation mode"
            )


def _parse(path: Path) -> onnx.ModelProto:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a readable ONNX model: not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise UsageError(
                f"{path} is not a readable ONNX model: {status.st_size} bytes, at most {MAX_FILE_BYTES} "
                "are possible; store the weights as external data"
            )
        return onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} is not a readable ONNX model: {error.strerror}") from error
    except (DecodeError, ValueError) as error:
        raise UsageError(f"{path} is not a readable ONNX model: {brief(error)}") from error


def _opset(proto: onnx.ModelProto, path: Path) -> int:
    versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions or not proto.HasField("graph"):
        raise UsageError(f"{path} is not a readable ONNX model: it holds no graph of standard operators")
    if max(versions) > MAX_OPSET:
        raise UsageError(
            f"{path} uses opset {max(versions)}; at most {MAX_OPSET} is supported; export it with {OPSET}"
        )
    return int(max(versions))


def _check(proto: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX's own check; a shape that an input or output does not declare is no fault."""
    for value in (*proto.graph.input, *proto.graph.output):
        if not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(proto)
    return proto


def _upgrade(model: ir.Model, opset: int) -> ir.Model:
    def convert(proto: onnx.ModelProto) -> onnx.ModelProto:
        return onnx.version_converter.convert_version(proto, OPSET)

    try:
        return through_onnx(model, convert)
    except Exception as error:
        raise UsageError(
            f"the network cannot be converted from opset {opset} to {OPSET}: {brief(error)}"
        ) from error


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor anywhere in a message: weights, attributes, subgraphs, functions, training data."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for item in [value] if isinstance(value, Message) else value:
                yield from _tensors(item)


def _check_tensors(proto: onnx.ModelProto, path: Path) -> None:
    """Every tensor's length against its shape, and every piece of external data.

    Raises:
        UsageError: names the tensor.
    """
    total = 0
    for tensor in _tensors(proto):
        where = f"{path}: tensor {tensor.name!r}"
        expected = _expected_bytes(tensor, where)
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            total += _check_external(tensor, expected, path, where)
            if total > MAX_EXTERNAL_BYTES:
                raise UsageError(
                    f"{path}: external data of more than {MAX_EXTERNAL_BYTES >> 30} GiB; refused"
                )
        elif tensor.HasField("raw_data") and expected not in (None, len(tensor.raw_data)):
            raise UsageError(f"{where} stores {len(tensor.raw_data)} bytes; its shape needs {expected}")


def _expected_bytes(tensor: onnx.TensorProto, where: str) -> int | None:
    """Bytes a tensor of this type and shape takes; None where the type has no fixed size."""
    if any(size < 0 for size in tensor.dims):
        raise UsageError(f"{where} has the impossible shape {list(tensor.dims)}")
    try:
        dtype = ir.DataType(tensor.data_type)
        bits: int = math.prod(tensor.dims) * dtype.bitwidth
        return -(-bits // 8)
    except TypeError:
        return None
    except ValueError:
        raise UsageError(f"{where} has the unknown element type {tensor.data_type}") from None


def _check_external(tensor: onnx.TensorProto, expected: int | None, path: Path, where: str) -> int:
    """Check one piece of external data; its length in bytes."""
    keys = [entry.key for entry in tensor.external_data]
    if len(keys) != len(set(keys)):
        raise UsageError(f"{where} describes its external data twice; refused")
    info = {entry.key: entry.value for entry in tensor.external_data}
    location = info.get("location", "")
    size = _confined_size(location, path.absolute().parent, where)
    offset = _number(info.get("offset", "0"), "offset", where)
    length = _number(info.get("length", str(max(0, size - offset))), "length", where)
    if offset + length > size:
        raise UsageError(
            f"{where}: bytes {offset} to {offset + length} lie outside {location!r} ({size} bytes)"
        )
    if expected is not None and length != expected:
        raise UsageError(f"{where}: {length} bytes of external data; its shape needs {expected}")
    return length


def _number(text: str, key: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise UsageError(f"{where}: {key} {text[:40]!r} of its external data is not a non-negative integer")
    return int(text)


def _confined_size(location: str, folder: Path, where: str) -> int:
    """Size of the file at ``location``, a plain file inside ``folder`` that nothing else links to.

    Raises:
        UsageError: for anything else.
    """
    windows = PureWindowsPath(location)
    if not location or "\0" in location or Path(location).is_absolute() or windows.drive or windows.root:
        raise UsageError(
            f"{where}: external data at {location!r}; expected a path relative to the model's folder"
        )
    if ".." in windows.parts:
        raise UsageError(
            f"{where}: external data at {location!r} may lie outside the model's folder; refused"
        )
    step = folder
    for part in Path(location).parts:
        step = step / part
        if step.is_symlink():
            raise UsageError(f"{where}: external data at {location!r} goes through a symbolic link; refused")
    try:
        status = step.lstat()
    except OSError as error:
        raise UsageError(f"{where}: external data at {location!r}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{where}: external data at {location!r} is not a file")
    if status.st_nlink > 1:
        raise UsageError(f"{where}: external data at {location!r} has hard links elsewhere; copy the file")
    return status.st_size
