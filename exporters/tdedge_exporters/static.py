"""Give a graph static shapes: fix the inputs, infer every other value, refuse what stays unknown."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveInitializersFromInputsPass

from tdedge.errors import UsageError
from tdedge.factor import Shape

#: Initializers above this size are kept out of what is handed to ONNX's C++ functions: those take one
#: message of at most 2 GiB, and need values only where they are shapes or axes.
_SMALL_BYTES = 1024
#: No tensor of a network for an edge device is larger; a small file can ask for any size.
MAX_TENSOR_BYTES = 4 << 30

_EXAMPLE = "--input-shape {}=1,3,224,224"


def make_static(model: ir.Model, input_shapes: Mapping[str, Shape] | None, notes: list[str]) -> ir.Model:
    """The same network with static shapes on every value.

    Initializers listed as inputs stop being inputs, ``Constant`` nodes become initializers. A dynamic
    first axis that no shape is given for becomes 1 and is noted.

    Args:
        model: the network; changed.
        input_shapes: shapes by input name; the name may be "" where there is one input.
        notes: what was decided is appended here.

    Raises:
        UsageError: for a shape that is missing, wrong, or cannot be inferred.
    """
    RemoveInitializersFromInputsPass()(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    fix_inputs(model, input_shapes or {}, notes)
    model = infer(model)
    if _unknown(model) is not None:
        from onnxscript import optimizer

        optimizer.fold_constants(model, onnx_shape_inference=True, should_fold=_fills_a_shape)
        model = infer(model)
    if (value := _unknown(model)) is not None:
        producer = value.producer()
        operator = f" (of {producer.op_type} node {producer.name!r})" if producer is not None else ""
        raise UsageError(
            f"value {value.name!r}{operator} has no static shape; sizes that depend on "
            "the data are not supported"
        )
    _check_sizes(model)
    return model


def _fills_a_shape(node: ir.Node) -> bool | None:
    """True for a small ``ConstantOfShape``, part of a computed shape; None: the optimizer's own rules."""
    shape = node.outputs[0].shape
    small = shape is not None and shape.is_static() and math.prod(shape.numpy()) <= _SMALL_BYTES
    return True if small and node.op_type == "ConstantOfShape" else None


def fix_inputs(model: ir.Model, input_shapes: Mapping[str, Shape], notes: list[str]) -> None:
    """Replace every dynamic axis of the inputs by a number; a symbol gets the same one everywhere.

    Raises:
        UsageError: for an unknown input, a shape that contradicts the network, or an axis without size.
    """
    inputs = {value.name or "": value for value in model.graph.inputs}
    given = _by_name(input_shapes, list(inputs))
    bound: dict[str, int] = {}
    for name, shape in given.items():
        _bind(inputs[name], shape, bound)
    for name, value in inputs.items():
        if value.shape is None:
            if name not in given:
                raise UsageError(f"input {name!r} has no shape; pass {_EXAMPLE.format(name)}")
            value.shape = ir.Shape(given[name])
            continue
        sizes = [
            _size(dim, given[name][axis] if name in given else None, bound)
            for axis, dim in enumerate(value.shape)
        ]
        if sizes and sizes[0] is None:
            sizes[0] = 1
            notes.append(f"input {name!r}: dynamic axis 0 ({_dim(value.shape[0])}) fixed at 1")
        for axis, size in enumerate(sizes):
            if size is None:
                raise UsageError(
                    f"input {name!r}: axis {axis} ({_dim(value.shape[axis])}) has no fixed size; "
                    f"pass {_EXAMPLE.format(name)}"
                )
            if size < 1:
                raise UsageError(f"input {name!r}: axis {axis} has size {size}; expected at least 1")
        value.shape = ir.Shape([size for size in sizes if size is not None])


def _by_name(input_shapes: Mapping[str, Shape], names: list[str]) -> dict[str, Shape]:
    given = {}
    for name, shape in input_shapes.items():
        if not name and len(names) == 1:
            name = names[0]
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"--input-shape names input {name!r}; the network takes {sorted(names)}{hint}")
        given[name] = tuple(shape)
    return given


def _bind(value: ir.Value, shape: Shape, bound: dict[str, int]) -> None:
    """Check a given shape against the declared one and remember what its symbols stand for."""
    if value.shape is None:
        return
    if len(shape) != len(value.shape):
        raise UsageError(
            f"--input-shape {value.name}={','.join(map(str, shape))} has {len(shape)} axes; "
            f"the network declares {value.shape}"
        )
    for axis, (size, dim) in enumerate(zip(shape, value.shape, strict=True)):
        if isinstance(dim, int):
            if size != dim:
                raise UsageError(
                    f"input {value.name!r}: axis {axis} is fixed at {dim} by the network; got {size}"
                )
        elif dim.value is not None and bound.setdefault(dim.value, size) != size:
            raise UsageError(
                f"input {value.name!r}: axis {axis} ({dim.value}) is {size}, elsewhere {bound[dim.value]}"
            )


def _size(dim: int | ir.SymbolicDim, given: int | None, bound: Mapping[str, int]) -> int | None:
    if isinstance(dim, int):
        return dim
    return given if given is not None else bound.get(dim.value or "")


def _dim(dim: int | ir.SymbolicDim) -> str:
    return str(dim) if isinstance(dim, int) else str(dim.value or "unnamed")


def infer(model: ir.Model) -> ir.Model:
    """The model with every shape and type inferred anew from the inputs.

    Raises:
        UsageError: when the shapes of a node do not fit each other.
    """
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            value.shape = None

    def run(proto: onnx.ModelProto) -> onnx.ModelProto:
        return onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)

    try:
        return through_onnx(model, run)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise UsageError(f"the shapes of the network do not fit each other: {brief(error)}") from error


def through_onnx(model: ir.Model, function: Callable[[onnx.ModelProto], onnx.ModelProto]) -> ir.Model:
    """Apply one of ONNX's functions to the model, its large weights held back meanwhile."""
    light = model.clone()
    graph = light.graph
    held: dict[str, ir.TensorProtocol] = {}
    listed = {value.name for value in graph.inputs}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.nbytes <= _SMALL_BYTES:
            continue
        held[name] = tensor
        del graph.initializers[name]
        value.const_value = None
        value.dtype, value.shape = tensor.dtype, ir.Shape(tensor.shape.numpy())
        if name not in listed:
            graph.inputs.append(value)
    result = ir.from_proto(function(ir.to_proto(light)))
    for value in [value for value in result.graph.inputs if value.name in held]:
        if value.name not in listed:
            result.graph.inputs.remove(value)
        value.const_value = held[value.name or ""]
        result.graph.register_initializer(value)
    return result


def brief(error: BaseException, limit: int = 300) -> str:
    """An error's text on one line, not longer than ``limit``."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _unknown(model: ir.Model) -> ir.Value | None:
    """A value of the main graph that is read or returned and has no static shape."""
    for node in model.graph:
        for value in node.outputs:
            wanted = value.uses() or value.is_graph_output()
            if wanted and (value.shape is None or not value.shape.is_static()):
                return value
    return None


def _check_sizes(model: ir.Model) -> None:
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
    for value in values:
        if value.shape is None or value.dtype is None or value.dtype == ir.DataType.STRING:
            continue
        size = math.prod(value.shape.numpy()) * value.dtype.itemsize
        if size > MAX_TENSOR_BYTES:
            raise UsageError(
                f"value {value.name!r} of shape {value.shape} takes {size / 2**30:.1f} GiB; "
                f"at most {MAX_TENSOR_BYTES >> 30} GiB are accepted"
            )
