"""Lowering to OpenVINO IR (``.xml`` and ``.bin``), in float32 or, when asked for, another precision.

The graph is read by OpenVINO's own ONNX front end in this process; the converter command, which reports
usage over the network, is not used. ``save_model`` would store float16 weights unasked, so its
``compress_to_fp16`` is always given. A bfloat16 file holds what the float32 one does: the precision is that
of the execution.

An int8 file is the QDQ graph as OpenVINO reads it (``FakeQuantize``, 8-bit weights); what the plug-in really
executes on integers is read from its execution graph. ``int8-weights`` is the float32 graph with its weights
in 8 bits, widened when the file is loaded.

A network that asks for a family of kernels (:mod:`tdedge_exporters.kernels`) gets it as the attribute
``primitives_priority`` of every convolution in the file, which the plug-in reads.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tdedge.errors import UnsupportedError
from tdedge_exporters.kernels import BLOCKED, kernels_of
from tdedge_exporters.lowering import DEFAULTS, Lowered, Options, Target
from tdedge_exporters.quantize.weights_only import quantize_weights
from tdedge_runtimes.privacy import import_openvino

openvino = import_openvino()


_CONVOLUTIONS = ("Convolution", "GroupConvolution")
#: Layers of the execution graph that sum products.
_PRODUCTS = (*_CONVOLUTIONS, "FullyConnected", "MatMul")
_INTEGERS = ("i8", "u8")
#: Family of kernels -> the plug-in's names of them, best first; it passes over those that a machine, or a
#: convolution, does not have.
_KERNELS = {
    BLOCKED: ",".join(f"cpu:jit_{isa}{kind}" for isa in ("avx512", "avx2") for kind in ("_1x1", "_dw", "")),
}


def lower(model: ir.Model, folder: Path, precision: str, options: Options = DEFAULTS) -> Lowered:
    """Write ``model.xml`` and ``model.bin`` (``model-float16.*``) into ``folder``; no option has an effect.

    Args:
        model: for int8 a QDQ graph, else of floats.
        folder: where to.
        precision: ``float32``, ``float16``, ``bfloat16``, ``int8`` or ``int8-weights``.
        options: of no use here.

    Raises:
        UnsupportedError: when OpenVINO cannot read or compile the graph; names its reason.
    """
    if precision == "int8-weights":
        model = quantize_weights(model)
    stem = "model" if precision == "float32" else f"model-{precision}"
    entry = folder / f"{stem}.xml"
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "model.onnx"
        ir.save(model, source)
        try:
            read = core.read_model(source)
            _name_nodes(read)
            openvino.save_model(read, entry, compress_to_fp16=precision == "float16")
            if family := kernels_of(model):
                _prefer(entry, _KERNELS[family])
            compiled = core.compile_model(core.read_model(entry), "CPU", _float32())
        except RuntimeError as error:
            lines = str(error).replace(scratch, "").splitlines()
            reason = " ".join(line for line in lines if not line.startswith(("Exception from", "Check '")))
            raise UnsupportedError(f"openvino: cannot lower this graph: {reason}") from error
    version = openvino.get_version().split("-")[0]
    files = (entry, entry.with_suffix(".bin"))
    notes = _notes(compiled) if precision == "int8" else ()
    return Lowered(Target("openvino", precision), entry, files, version, notes=notes)


def products(path: Path) -> dict[str, bool]:
    """Convolutions and matrix products as the plug-in executes them here: name -> whether on integers.

    From the execution graph, after everything was fused.
    """
    return _products(openvino.Core().compile_model(str(path), "CPU", _float32()))


def _products(compiled: Any) -> dict[str, bool]:
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        about = {key: str(node.get_rt_info()[key].value) for key in ("layerType", "primitiveType")}
        if about["layerType"] in _PRODUCTS:
            # The kernel's name ends in what it computes in; "runtimePrecision" is that of a weight at times.
            kind = about["primitiveType"].rpartition("_")[2].lower()
            found[node.get_friendly_name().removesuffix("/WithoutBiases")] = kind in _INTEGERS
    return found


def _notes(compiled: Any) -> tuple[str, ...]:
    """What of an int8 file is computed in float32 all the same."""
    names = [name for name, whole in _products(compiled).items() if not whole]
    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (f"OpenVINO computes {len(names)} products in float32: {some}",) if names else ()


def probe(entry: Path, inputs: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Values of those inner tensors of ``entry`` that ``names`` lists, in float32."""
    core = openvino.Core()
    model = core.read_model(entry)
    present = {name for node in model.get_ordered_ops() for out in node.outputs() for name in out.get_names()}
    outputs = {name for out in model.outputs for name in out.get_names()}
    wanted = [name for name in names if name in present]
    model.add_outputs([name for name in wanted if name not in outputs])
    results = core.compile_model(model, "CPU", _float32())(dict(inputs))
    return {name: np.array(results[name]) for name in wanted}


def _prefer(entry: Path, kernels: str) -> None:
    """Name the kernels to prefer for every convolution of a file."""
    tree = xml.parse(entry)  # noqa: S314 - OpenVINO has just written it
    for layer in tree.iterfind("layers/layer"):
        if layer.get("type") in _CONVOLUTIONS:
            about = layer.find("rt_info")
            if about is None:
                about = xml.Element("rt_info")
                layer.insert(1, about)  # behind its attributes
            xml.SubElement(about, "attribute", name="primitives_priority", version="0", value=kernels)
    tree.write(entry, encoding="utf-8", xml_declaration=True)


def _name_nodes(model: Any) -> None:
    """Name nodes the front end made by their place; its own numbers depend on what was read before."""
    for index, node in enumerate(model.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name():
            node.set_friendly_name(f"{node.get_type_name()}.{index}")


def _float32() -> dict[str, str]:
    """Compute in float32: some CPUs would otherwise run bfloat16 or float16 kernels unasked."""
    return {"INFERENCE_PRECISION_HINT": "f32"}
