"""Any source of a network to one checked ONNX graph: static shapes, evaluation mode, pinned opset.

Sources, safest first: a ``.onnx`` file (its external data confined to its folder); ``module:factory`` with
its state from ``.safetensors``, or from a ``.pt`` state dict read with ``weights_only=True``; a live torch
module; a ``.pt2`` archive, only with ``trust`` and after a scan. A factory is the user's own code and is
run; nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from tdedge.errors import UsageError
from tdedge.factor import Shape
from tdedge_exporters.safe_onnx import OPSET, check_operators, read_onnx
from tdedge_exporters.sources import WEIGHT_SUFFIXES, load_module, require_torch
from tdedge_exporters.static import make_static

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OPSET", "Captured", "capture", "load_module"]

_KINDS = "a .onnx file, module:factory, file.py:factory or a .pt2 file"


@dataclass(frozen=True)
class Captured:
    """A captured network.

    Attributes:
        model: the graph; every value has a static shape.
        name: of the file, factory or class.
        kind: ``onnx``, ``module``, ``factory`` or ``pt2``.
        notes: what was decided for the user, one sentence each.
        example: the tensors a torch module was exported with; None for other kinds.
    """

    model: ir.Model
    name: str
    kind: str
    notes: list[str] = field(default_factory=list)
    example: tuple[Any, ...] | None = None


def capture(
    source: str | Path | nn.Module,
    *,
    example: Any = None,
    input_shapes: Mapping[str, Shape] | None = None,
    weights: Path | None = None,
    trust: bool = False,
    python_path: Sequence[Path] = (),
) -> Captured:
    """Capture a network as a checked ONNX graph of :data:`OPSET` (a newer opset of a file is kept).

    Args:
        source: a ``.onnx`` file, ``module:factory``, ``file.py:factory``, a torch module, or ``.pt2``.
        example: example inputs of a torch module: a tensor or array, or a sequence of them.
        input_shapes: static shapes by input name ("" where there is one input).
        weights: state for a factory's module.
        trust: allow a ``.pt2`` archive.
        python_path: folders a factory is imported from.

    Raises:
        UsageError: when the source is unknown, unreadable, unsafe or unsupported.
        MissingError: when torch is needed and not installed.
    """
    if not isinstance(source, str | Path):
        if weights is not None:
            raise UsageError("weights go with module:factory; load the state into a live module yourself")
        return _capture_module(source, example, input_shapes)
    text = str(source)
    suffix = Path(text).suffix.lower()
    if suffix in WEIGHT_SUFFIXES:
        raise UsageError(
            f"{text} holds weights and no network; pass module:factory as the source and --weights {text}"
        )
    if suffix in (".onnx", ".pt2") or ":" not in text:
        if weights is not None:
            raise UsageError(f"--weights go with module:factory; {text} has its own")
        if example is not None:
            raise UsageError(f"an example goes with a torch module; pass input shapes for {text}")
    if suffix == ".onnx":
        return _capture_onnx(Path(text), input_shapes)
    if suffix == ".pt2":
        return _capture_pt2(Path(text), input_shapes, trust)
    if ":" in text:
        return _capture_factory(text, example, input_shapes, weights, python_path)
    raise UsageError(f"{text!r} is no network this can read; expected {_KINDS}")


def _capture_onnx(path: Path, input_shapes: Mapping[str, Shape] | None) -> Captured:
    notes: list[str] = []
    model = make_static(read_onnx(path, notes), input_shapes, notes)
    return Captured(model, path.stem, "onnx", notes)


def _capture_factory(
    text: str,
    example: Any,
    input_shapes: Mapping[str, Shape] | None,
    weights: Path | None,
    python_path: Sequence[Path],
) -> Captured:
    module, found = load_module(text, weights=weights, python_path=python_path)
    if example is None and not input_shapes:
        example = found
    captured = _capture_module(module, example, input_shapes)
    notes = [f"ran the code of {Path(text).name}", *captured.notes]
    name = text.rpartition(":")[2]
    return Captured(captured.model, name, "factory", notes, captured.example)


def _capture_module(module: Any, example: Any, input_shapes: Mapping[str, Shape] | None) -> Captured:
    torch = require_torch()
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"the source is a {type(module).__name__}; expected {_KINDS}, or a torch module")
    from tdedge_exporters.modules import example_inputs, export_module

    notes: list[str] = []
    inputs = example_inputs(module, example, input_shapes)
    model = _finish(export_module(module, inputs, notes), None, notes)
    return Captured(model, type(module).__name__, "module", notes, inputs)


def _capture_pt2(path: Path, input_shapes: Mapping[str, Shape] | None, trust: bool) -> Captured:
    if not trust:
        raise UsageError(
            f"{path}: loading a .pt2 archive can run code that it holds; pass --trust if you made it, or "
            "export the network to .onnx"
        )
    require_torch()
    from tdedge_exporters.modules import export_program, quiet
    from tdedge_exporters.pt2 import load_pt2

    notes = ["loaded a .pt2 archive on your word that it can be trusted"]
    with quiet():
        program = load_pt2(path)
    return Captured(_finish(export_program(program, path.name), input_shapes, notes), path.stem, "pt2", notes)


def _finish(model: ir.Model, input_shapes: Mapping[str, Shape] | None, notes: list[str]) -> ir.Model:
    """What :func:`read_onnx` does for a file, for a graph that torch made."""
    InlinePass()(model)
    check_operators(model)
    return make_static(model, input_shapes, notes)
