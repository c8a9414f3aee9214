"""A graph as a program: layout, lowering node by node, clean-up, names."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from tdedge.errors import UnsupportedError
from tdedge_exporters.tflite import peephole
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Layout
from tdedge_exporters.tflite.ops.rule import Rules
from tdedge_exporters.tflite.ops.table import OPS, policy_of, rule_of
from tdedge_exporters.tflite.order import FIRST, natural
from tdedge_exporters.tflite.program import Program, Tensor

#: Element types of inputs and outputs.
ELEMENT_TYPES = ("float", "int8", "uint8", "int16", "int32", "int64", "bool")

#: Old runtimes handle at most this many axes.
_MOST_AXES = 4


def assemble(graph: ir.Graph, *, inputs_last: bool, rules: Rules = OPS) -> tuple[Program, Builder]:
    """The program of a graph with static shapes, and the builder that knows what its tensors hold.

    Args:
        graph: not changed.
        inputs_last: take inputs of rank 3 and more channels-last.
        rules: ONNX operator -> how it is lowered.

    Raises:
        UnsupportedError: names the first node that cannot be lowered and why.
    """
    _check(graph, rules)
    builder = Builder(Layout(graph, lambda node: policy_of(node, rules), inputs_last=inputs_last))
    for value in graph.inputs:
        _add_input(builder, value, inputs_last=inputs_last)
    for node in graph:
        rule = rule_of(node, rules)
        assert rule is not None
        rule.lower(builder, node)
    for value in graph.outputs:
        _add_output(builder, value)
    peephole.clean(builder.program)
    name_tensors(builder)
    _note_many_axes(builder.program)
    return builder.program, builder


def _check(graph: ir.Graph, rules: Rules) -> None:
    for node in graph:
        if rule_of(node, rules) is None:
            name = node.name or node.outputs[0].name
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise UnsupportedError(
                f"tflite: node {name!r} ({operator}): there is no lowering for this operator; change the "
                "layer, or leave tflite out of --to"
            )


def _check_type(value: ir.Value, what: str) -> None:
    """Refuse an input or output whose element type no tensor of the file can have.

    Raises:
        UnsupportedError: names it.
    """
    if value.dtype is not None and value.dtype.name.lower() not in ELEMENT_TYPES:
        raise UnsupportedError(
            f"tflite: {what} {value.name!r} has the element type {value.dtype.name.lower()}; expected one of "
            f"{', '.join(ELEMENT_TYPES)}: export the network in float32"
        )


def _add_input(builder: Builder, value: ir.Value, *, inputs_last: bool) -> None:
    _check_type(value, "input")
    shape = builder.shape(value)
    dtype = np.dtype(value.dtype.numpy()) if value.dtype is not None else np.dtype(np.float32)
    last = inputs_last and len(shape) >= 3
    tensor = Tensor(value.name or "", builder.last_shape(value) if last else shape, dtype)
    builder.program.inputs.append((value.name or "", tensor))
    builder.put(value, tensor, natural(shape) if last else FIRST)


def _add_output(builder: Builder, value: ir.Value) -> None:
    """An output is as ONNX has it, and a tensor of its own."""
    _check_type(value, "output")
    tensor = builder.get(value, FIRST, builder.shape(value))
    taken = [t for _, t in (*builder.program.inputs, *builder.program.outputs)]
    if tensor.data is not None or tensor in taken:
        shape = builder.integers(tensor.shape)
        tensor = builder.emit("RESHAPE", [tensor, shape], tensor.shape)
    builder.program.outputs.append((value.name or "", tensor))
    builder.holds[tensor] = value, FIRST


def name_tensors(builder: Builder) -> None:
    """Unique names: inputs and outputs their own, others their value's where it is still free."""
    program = builder.program
    fixed = {tensor: name for name, tensor in (*program.inputs, *program.outputs)}
    used = set(fixed.values())
    for tensor in _tensors(program):
        if tensor in fixed:
            tensor.name = fixed[tensor]
            continue
        held = builder.holds.get(tensor)
        stem = (held[0].name if held else tensor.name) or "tdedge"
        name, count = stem, 1
        while name in used:
            count += 1
            name = f"{stem}_{count}"
        tensor.name = name
        used.add(name)


def _tensors(program: Program) -> Iterable[Tensor]:
    """Every tensor once, what operators make first."""
    made = [tensor for op in program.ops for tensor in op.outputs]
    read = [tensor for op in program.ops for tensor in op.inputs if tensor is not None]
    ends = [tensor for _, tensor in (*program.inputs, *program.outputs)]
    return dict.fromkeys((*made, *read, *ends))


def _note_many_axes(program: Program) -> None:
    many = [t.name for t in _tensors(program) if len(t.shape) > _MOST_AXES]
    if many:
        program.notes.append(
            f"{len(many)} of the file's tensors have more than {_MOST_AXES} axes: {', '.join(many)}"
        )
