"""The two functions every target has: write the file, and look at its inner tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ai_edge_litert
import numpy as np
import onnx_ir as ir
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

import tdedge
from tdedge.errors import UnsupportedError
from tdedge_exporters.lowering import DEFAULTS, Lowered, Options, Target
from tdedge_exporters.quantize.qdq import strip
from tdedge_exporters.tflite.assemble import assemble, name_tensors
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.integers import quantise
from tdedge_exporters.tflite.patterns import prepare
from tdedge_exporters.tflite.program import Program
from tdedge_exporters.tflite.weights import store_float16, store_int8
from tdedge_exporters.tflite.writer import write

#: Metadata buffers: what the file is, and how its inner tensors are stored.
ABOUT = "tdedge"
ORDERS = "tdedge.orders"


def lower(model: ir.Model, folder: Path, precision: str, options: Options = DEFAULTS) -> Lowered:
    """Write ``model.tflite`` (``model-float16.tflite``) into ``folder``.

    With ``precision`` float16 the weights are stored in half precision and widened when the file is
    loaded; the arithmetic stays float32.

    Raises:
        UnsupportedError: names the node, its operator, the reason and what to do.
    """
    grids = None
    if precision == "int8":
        model, grids = strip(model)
    graph = model.graph.clone()
    prepare(graph)
    program, builder = assemble(graph, inputs_last=options.input_layout == "nhwc")
    if grids is not None:
        quantise(program, builder.holds, builder.sources, grids, integer_io=options.integer_io)
        name_tensors(builder)
    orders = _orders(program, builder)
    if precision == "float16":
        store_float16(program)
    elif precision == "int8-weights":
        store_int8(program)
    about = {
        "schema_version": 1,
        "tdedge_version": tdedge.__version__,
        "network_sha256": options.network_sha256,
        "input_layout": options.input_layout,
    }
    content = write(program, {ABOUT: _json(about), ORDERS: _json(orders)})
    try:
        litert.Interpreter(model_content=content, num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise UnsupportedError(f"tflite: LiteRT refuses this graph: {str(error).splitlines()[0]}") from error
    entry = folder / ("model.tflite" if precision == "float32" else f"model-{precision}.tflite")
    entry.write_bytes(content)
    return Lowered(
        Target("tflite", precision),
        entry,
        (entry,),
        ai_edge_litert.__version__,
        input_layout=options.input_layout,
        notes=tuple(program.notes),
    )


def probe(entry: Path, inputs: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Values of those inner tensors of ``entry`` that ``names`` lists, as ONNX has them.

    Runs the built-in kernels: XNNPACK keeps no inner tensors.
    """
    content = entry.read_bytes()
    orders = json.loads(_metadata(content, ORDERS))
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    runner(**dict(inputs))
    found = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
    values = {}
    for name in names:
        if name in found and name in orders:
            shape, axes = orders[name]["shape"], orders[name]["axes"]
            stored = _real(interpreter.get_tensor(found[name]["index"]), found[name])
            stored = stored.reshape([shape[axis] for axis in axes])
            values[name] = np.array(stored.transpose(np.argsort(axes)))
    return values


def _real(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """What integers with one scale stand for; other elements as they are."""
    scales, zeros = (detail["quantization_parameters"][key] for key in ("scales", "zero_points"))
    if len(scales) != 1:
        return array
    return np.asarray((array.astype(np.float32) - np.float32(zeros[0])) * np.float32(scales[0]))


def _orders(program: Program, builder: Builder) -> dict[str, Any]:
    """Name -> logical shape and stored axes, for tensors that hold a value of the network."""
    from tdedge_exporters.tflite.order import axes

    made = {tensor for op in program.ops for tensor in op.outputs}
    found = {}
    for tensor, (value, of) in builder.holds.items():
        if tensor in made and tensor.name == value.name:
            shape = builder.shape(value)
            permutation = axes(shape, of)
            if permutation is not None:
                found[tensor.name] = {"shape": list(shape), "axes": list(permutation)}
    return found


def _metadata(content: bytes, name: str) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content)
    for entry in model.metadata or ():
        if (entry.name.decode() if isinstance(entry.name, bytes) else entry.name) == name:
            return bytes(model.buffers[entry.buffer].data)
    return b"{}"


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
