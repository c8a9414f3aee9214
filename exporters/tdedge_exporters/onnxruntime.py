"""Lowering to ONNX Runtime: one ``.onnx`` file; with ``minimal`` also ``.ort`` and its operator list.

The ``.ort`` form and ``required_operators.config`` exist for builds of ONNX Runtime that hold only the
operators a model needs; they make the binary smaller, not the model faster (source: ONNX Runtime's
"ORT format models" and "Custom build" documentation). The optimised graph is fixed for generic
hardware there (no NCHWc layout), so the file runs on any CPU.

A network that asks for blocked kernels (:mod:`tdedge_exporters.kernels`) gets its sums in them, but for the
``.ort`` form.

An int8 file is the QDQ graph itself: when it is loaded, ONNX Runtime fuses each operator with the
``DequantizeLinear`` before and the ``QuantizeLinear`` behind it into one on integers. ``int8-weights`` is the
float32 graph with its weights in 8 bits; it has no ``.ort`` form, which would hold them widened.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tdedge.errors import UnsupportedError
from tdedge_exporters import graph as g
from tdedge_exporters.blocked_sums import in_blocks
from tdedge_exporters.kernels import BLOCKED, kernels_of
from tdedge_exporters.lowering import DEFAULTS, Lowered, Options, Target
from tdedge_exporters.quantize.weights_only import quantize_weights
from tdedge_runtimes.privacy import import_onnxruntime

onnxruntime = import_onnxruntime()

_EXPLAINED = "the graph is valid ONNX but ONNX Runtime refuses it"


#: Sums of products, as ONNX Runtime names them when they are on floats.
_PRODUCTS = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
#: Integer operators whose results are float32.
_TO_FLOAT = ("DequantizeLinear", "MatMulIntegerToFloat", "QGemm")
_INTEGERS = (ir.DataType.INT8, ir.DataType.UINT8)


def lower(model: ir.Model, folder: Path, precision: str, options: Options = DEFAULTS) -> Lowered:
    """Write ``model.onnx`` (and ``model.ort``, ``required_operators.config``) into ``folder``.

    The names of other precisions end in it: ``model-int8.onnx``.

    Args:
        model: for int8 a QDQ graph, else of floats.
        folder: where to.
        precision: ``float32``, ``int8`` or ``int8-weights``.
        options: ``minimal`` has an effect.

    Raises:
        UnsupportedError: when ONNX Runtime cannot load the graph; names its reason.
    """
    entry = folder / ("model.onnx" if precision == "float32" else f"model-{precision}.onnx")
    _save(model, entry, precision, kernels_of(model))
    try:
        _session(entry)
    except Exception as error:
        raise UnsupportedError(f"onnxruntime: {_EXPLAINED}: {error}") from error
    files = [entry]
    if options.minimal and precision != "int8-weights":
        with tempfile.TemporaryDirectory() as scratch:
            generic = Path(scratch) / entry.name  # no blocks there
            _save(model, generic, precision, "")
            files += _minimal(generic, folder)
    notes = _notes(entry) if precision == "int8" else ()
    return Lowered(
        Target("onnxruntime", precision), entry, tuple(files), onnxruntime.__version__, notes=notes
    )


def _save(model: ir.Model, path: Path, precision: str, kernels: str) -> None:
    if kernels == BLOCKED:
        model = in_blocks(model)
    ir.save(quantize_weights(model) if precision == "int8-weights" else model, path)


def integer_operators(path: Path) -> dict[str, int]:
    """Kind of operator, such as ``QLinearConv`` -> how many ONNX Runtime executes on 8-bit integers here."""
    return dict(Counter(node.op_type for node, whole in _executed(path) if whole))


def float_operators(path: Path) -> dict[str, str]:
    """Operators that ONNX Runtime executes on floats here, name -> kind; conversions are not among them."""
    convert = ("QuantizeLinear", "DequantizeLinear")
    return {
        g.node_name(node): node.op_type
        for node, whole in _executed(path)
        if not whole and node.op_type not in convert
    }


def _executed(path: Path) -> Iterator[tuple[ir.Node, bool]]:
    """Nodes of the graph after ONNX Runtime's own rewrites, and whether they are on integers."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        _session(path, optimised)
        graph = ir.load(optimised).graph
    whole = {value for value in graph.inputs if value.dtype in _INTEGERS}
    for node in graph:
        on_integers = node.op_type != "DequantizeLinear" and any(value in whole for value in node.inputs)
        if node.op_type == "QuantizeLinear" or (on_integers and not _gives_floats(node)):
            whole.update(node.outputs)
        yield node, on_integers


def _gives_floats(node: ir.Node) -> bool:
    """True for an operator on integers without a grid for its result."""
    return node.op_type in _TO_FLOAT and not (node.op_type == "QGemm" and len(node.inputs) > 7)


def _notes(entry: Path) -> tuple[str, ...]:
    """What of an int8 file is computed in float32 all the same."""
    names = [name for name, kind in float_operators(entry).items() if kind in _PRODUCTS]
    return (f"ONNX Runtime computes {len(names)} products in float32: {_few(names)}",) if names else ()


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def probe(entry: Path, inputs: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Values of those inner tensors of ``entry`` that ``names`` lists, in float32."""
    model = ir.load(entry)
    values = {value.name: value for node in model.graph for value in node.outputs}
    outputs = {value.name for value in model.graph.outputs}
    wanted = [name for name in names if name in values]
    model.graph.outputs.extend(values[name] for name in wanted if name not in outputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        ir.save(model, path)
        results = _session(path).run(wanted, dict(inputs))
    return dict(zip(wanted, results, strict=True))


def _session(path: Path, optimised: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _minimal(entry: Path, folder: Path) -> list[Path]:
    """The ``.ort`` file and the operator list, with no path of this machine in either."""
    from onnxruntime.tools.convert_onnx_models_to_ort import (
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    chatter = io.StringIO()
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(chatter):
            convert_onnx_models_to_ort(
                entry, folder, optimization_styles=[OptimizationStyle.Fixed], target_platform="arm"
            )
    except Exception as error:
        raise UnsupportedError(f"onnxruntime: no .ort form of this graph: {error}") from error
    finally:
        logging.disable(level)
    written = folder / f"{entry.stem}.required_operators.config"
    operators = [line for line in written.read_text().splitlines() if not line.startswith("#")]
    written.unlink()
    ort = folder / f"{entry.stem}.ort"
    config = folder / f"required_operators{entry.stem.removeprefix('model')}.config"
    config.write_text(f"# Operators {ort.name} needs\n" + "\n".join(filter(None, operators)) + "\n")
    return [ort, config]
