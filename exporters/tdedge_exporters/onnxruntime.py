"""Lowering to ONNX Runtime: one ``.onnx`` file; with ``minimal`` also ``.ort`` and its operator list.

The ``.ort`` form and ``required_operators.config`` exist for builds of ONNX Runtime that hold only the
operators a model needs; they make the binary smaller, not the model faster (source: ONNX Runtime's
"ORT format models" and "Custom build" documentation). The optimised graph is fixed for generic
hardware there (no NCHWc layout), so the file runs on any CPU.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tdedge.errors import UnsupportedError
from tdedge_exporters.lowering import DEFAULTS, Lowered, Options, Target
from tdedge_runtimes.privacy import import_onnxruntime

onnxruntime = import_onnxruntime()

_EXPLAINED = "the graph is valid ONNX but ONNX Runtime refuses it"


def lower(model: ir.Model, folder: Path, precision: str, options: Options = DEFAULTS) -> Lowered:
    """Write ``model.onnx`` (``model-int8.onnx``; and ``model.ort``, ``required_operators.config``) into ``folder``.

    Raises:
        UnsupportedError: when ONNX Runtime cannot load the graph; names its reason.
    """
    entry = folder / ("model.onnx" if precision == "float32" else f"model-{precision}.onnx")
    ir.save(model, entry)
    try:
        _session(entry)
    except Exception as error:
        raise UnsupportedError(f"onnxruntime: {_EXPLAINED}: {error}") from error
    files = [entry]
    if options.minimal:
        files += _minimal(entry, folder)
    return Lowered(Target("onnxruntime", precision), entry, tuple(files), onnxruntime.__version__)


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


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
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
    written = folder / "model.required_operators.config"
    operators = [line for line in written.read_text().splitlines() if not line.startswith("#")]
    written.unlink()
    config = folder / "required_operators.config"
    config.write_text("# Operators model.ort needs\n" + "\n".join(filter(None, operators)) + "\n")
    return [folder / "model.ort", config]
