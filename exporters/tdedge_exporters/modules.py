"""Export a torch module to an ONNX graph: evaluation mode, float32, static shapes, in silence."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from tdedge.errors import UsageError
from tdedge.factor import Shape
from tdedge_exporters.safe_onnx import OPSET
from tdedge_exporters.sources import own_example, require_torch
from tdedge_exporters.static import brief

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.export import ExportedProgram


def example_inputs(
    module: nn.Module, example: Any, input_shapes: Mapping[str, Shape] | None
) -> tuple[torch.Tensor, ...]:
    """The tensors to export ``module`` with.

    Args:
        module: whose ``forward`` names the inputs.
        example: a tensor or array, or a sequence of them; wins over ``input_shapes``, which must agree.
        input_shapes: shapes by argument name of ``forward`` (or "" where there is one); seeded float32
            values are drawn for them.

    Raises:
        UsageError: when neither is given, or they do not fit ``forward`` or each other.
    """
    torch = require_torch()
    names = _argument_names(module)
    if example is None and not input_shapes:
        example = own_example(module)
        if example is None:
            raise UsageError(
                f"the inputs of {type(module).__name__} are not known; pass --input-shape "
                f"{names[0] if names else 'x'}=1,3,224,224, or let the factory return (module, example)"
            )
    shapes = _ordered(module, names, input_shapes or {})
    if example is None:
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(shape, generator=generator) for shape in shapes.values())
    given = example if isinstance(example, list | tuple) else [example]
    for value in given:
        if not isinstance(value, torch.Tensor | np.ndarray):
            raise UsageError(f"an example input is a {type(value).__name__}; expected tensors or arrays")
    tensors = tuple(torch.as_tensor(value).detach() for value in given)
    for name, tensor in zip(names, tensors, strict=False):
        if name in shapes and tuple(tensor.shape) != shapes[name]:
            raise UsageError(
                f"example input {name!r} has shape {tuple(tensor.shape)}, --input-shape says {shapes[name]}"
            )
    return tensors


def export_module(module: nn.Module, inputs: Sequence[torch.Tensor], notes: list[str]) -> ir.Model:
    """The ONNX graph of ``module`` in evaluation mode; the module is left as it was.

    Weights are copied: later changes of the module do not reach the graph.

    Raises:
        UsageError: when torch cannot export it; holds torch's reason.
    """
    torch = require_torch()
    stored = [*module.parameters(), *module.buffers()]
    floats = [tensor for tensor in stored if tensor.is_floating_point()]
    if any(t.dtype != torch.float32 for t in floats) or any(t.device.type != "cpu" for t in stored):
        notes.append("exported as a float32 copy on the CPU")
        module = copy.deepcopy(module).cpu().float()
    inputs = tuple(t.cpu().float() if t.is_floating_point() else t.cpu() for t in inputs)
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        return _export(module, inputs, type(module).__name__)
    finally:
        for child, mode in modes.items():
            child.training = mode


def export_program(program: ExportedProgram, name: str) -> ir.Model:
    """The ONNX graph of a ``.pt2`` program.

    Raises:
        UsageError: when torch cannot export it; holds torch's reason.
    """
    return _export(program, (), name)


def _export(network: Any, inputs: tuple[torch.Tensor, ...], name: str) -> ir.Model:
    torch = require_torch()
    with quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                network, inputs, dynamo=True, opset_version=OPSET, external_data=False, verbose=False
            )
        except Exception as error:
            raise UsageError(f"torch cannot export {name} to ONNX: {_reason(error)}") from error
    model: ir.Model = program.model
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            array = np.array(value.const_value.numpy(), copy=True)
            value.const_value = ir.Tensor(array, dtype=value.const_value.dtype, name=value.name)
    return model


def _reason(error: BaseException) -> str:
    """The innermost cause; torch wraps it in pages of advice."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {brief(error)}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's prints, warnings and log lines from the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(level)


def _argument_names(module: nn.Module) -> list[str]:
    """Positional arguments of ``forward``."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def _ordered(module: nn.Module, names: list[str], shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes in the order of ``forward``'s arguments.

    Raises:
        UsageError: when a name is unknown or an argument before a named one has no shape.
    """
    if set(shapes) == {""}:
        return {(names or [""])[0]: tuple(shapes[""])}
    unknown = sorted(set(shapes) - set(names))
    if unknown:
        raise UsageError(f"--input-shape names input {unknown[0]!r}; {type(module).__name__} takes {names}")
    missing = [name for name in names[: len(shapes)] if name not in shapes]
    if missing:
        raise UsageError(f"input {missing[0]!r} of {type(module).__name__} needs an --input-shape, too")
    return {name: tuple(shapes[name]) for name in names[: len(shapes)]}
