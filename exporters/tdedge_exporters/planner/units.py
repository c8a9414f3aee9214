"""A network as the planner sees it: units, in execution order, and the values between them.

    factor   Conv, Gemm or MatMul with constant weights, with its activation (see ``factor_nodes``)
    map      element-wise operators: the same in every layout; in integers a sum and the ReLU behind it are
             one, which runtimes then compute together
    pool     MaxPool and AveragePool
    opaque   everything else: stays as it is, reads and gives native tensors

A *run* is a sequence of units each of which is the only reader of the one before it, with no graph output
between: what a form may rewrite as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import onnx_ir as ir

from tdedge.compose import NotExactError
from tdedge.errors import UnsupportedError
from tdedge.factor import Factor, Shape
from tdedge_exporters import graph as g
from tdedge_exporters.factor_nodes import FactorNode, activation_of, read, with_activation
from tdedge_exporters.quantize.scheme import is_cut

#: Element-wise operators with one computed input, or several of one shape.
MAPS = frozenset(
    (
        *("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Gelu", "Mish"),
        *("Softplus", "Neg", "Abs", "Exp", "Sqrt", "Identity", "Add", "Sub", "Mul", "Div", "Max", "Min"),
    )
)
POOLS = frozenset(("MaxPool", "AveragePool"))


@dataclass(frozen=True, eq=False)
class Unit:
    """One step of the network.

    Attributes:
        index: its place in execution order.
        kind: ``factor``, ``map``, ``pool`` or ``opaque``.
        nodes: what computes it.
        inputs: the computed values it reads, constants left out.
        outputs: the values it gives; one, but for opaque units.
        part: the factor, where it is one.
    """

    index: int
    kind: str
    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    part: FactorNode | None = None

    @property
    def name(self) -> str:
        """Name of the first node."""
        return g.node_name(self.nodes[0])

    @property
    def factor(self) -> Factor:
        """The factor of a unit that is one."""
        assert self.part is not None
        return self.part.factor

    @property
    def input_shape(self) -> Shape:
        """Shape of the first input."""
        return static_shape(self.inputs[0])

    @property
    def output_shape(self) -> Shape:
        """Shape of the first output."""
        return static_shape(self.outputs[0])


@dataclass(frozen=True, eq=False)
class Network:
    """Units of a graph.

    Attributes:
        model: the model they were found in.
        units: in execution order.
        refusals: (node name, reason) of nodes that are no factors.
    """

    model: ir.Model
    units: tuple[Unit, ...]
    refusals: tuple[tuple[str, str], ...]

    @cached_property
    def readers(self) -> dict[ir.Value, Unit]:
        """The last unit that reads each value."""
        return {value: unit for unit in self.units for value in unit.inputs}

    @cached_property
    def makers(self) -> dict[ir.Value, Unit]:
        """The unit that gives each value."""
        return {value: unit for unit in self.units for value in unit.outputs}

    def following(self, unit: Unit) -> Unit | None:
        """The unit that alone reads what ``unit`` gives, and nothing else."""
        if len(unit.outputs) != 1 or g.not_a_link(unit.outputs[0]) is not None:
            return None
        reader = self.readers.get(unit.outputs[0])
        return reader if reader is not None and reader.inputs == unit.outputs else None

    def is_link(self, value: ir.Value) -> bool:
        """True for a value that one factor gives and one factor of as many axes alone reads."""
        maker, reader = self.makers.get(value), self.readers.get(value)
        if maker is None or reader is None or g.not_a_link(value) is not None:
            return False
        both = maker.kind == reader.kind == "factor"
        return both and maker.factor.spatial_rank == reader.factor.spatial_rank

    def runs_from(self, unit: Unit, kinds: tuple[str, ...]) -> list[Unit]:
        """``unit`` and the units that follow it, as far as they are of these kinds."""
        found = [unit]
        while (after := self.following(found[-1])) is not None and after.kind in kinds:
            found.append(after)
        return found


def static_shape(value: ir.Value) -> Shape:
    """Shape of a value whose every axis is an integer."""
    shape = g.counting_shape(value)
    return shape if shape is not None else ()


def refusal(model: ir.Model) -> str | None:
    """Why a network cannot be written again unit by unit; None where it can.

    A subgraph (``If``, ``Loop``, ``Scan``) reads values of the graph around it by itself, past the inputs of
    its node.
    """
    for node in model.graph:
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            return f"node {g.node_name(node)!r} ({node.op_type}) holds a graph of its own"
    return None


def network(model: ir.Model, *, integers: bool = False) -> Network:
    """The units of the main graph of ``model``.

    Args:
        model: float32, also where it will be quantised.
        integers: whether it will.

    Raises:
        UnsupportedError: where :func:`refusal` has a reason.
    """
    if (reason := refusal(model)) is not None:
        raise UnsupportedError(f"the network cannot be planned: {reason}")
    units: list[Unit] = []
    refusals: list[tuple[str, str]] = []
    taken: set[int] = set()
    for node in model.graph:
        if id(node) in taken or _is_constant(node):
            continue
        unit = _unit(len(units), node, refusals)
        if integers:
            unit = _with_cut(unit)
        taken.update(id(each) for each in unit.nodes)
        units.append(unit)
    return Network(model, tuple(units), tuple(refusals))


def _unit(index: int, node: ir.Node, refusals: list[tuple[str, str]]) -> Unit:
    part = None
    try:
        part = read(node)
    except NotExactError as reason:
        refusals.append((g.node_name(node), reason.message))
    if part is not None and len(static_shape(part.input)) > 0 and g.constant(part.input) is None:
        part = _activated(part)
        return Unit(index, "factor", part.nodes, (part.input,), (part.output,), part)
    inputs = tuple(value for value in node.inputs if value is not None and g.constant(value) is None)
    kind = "opaque"
    if node.domain in ("", "ai.onnx") and inputs:
        if node.op_type in MAPS and _is_map(node, inputs):
            kind = "map"
        elif node.op_type in POOLS and len(node.outputs) == 1 and static_shape(node.outputs[0]):
            kind = "pool"
    return Unit(index, kind, (node,), inputs if kind != "opaque" else tuple(_read(node)), tuple(node.outputs))


def _with_cut(unit: Unit) -> Unit:
    """A sum together with the ReLU that alone reads it."""
    after = g.only_user(unit.outputs[0]) if unit.kind == "map" and unit.nodes[0].op_type == "Add" else None
    if after is None or not is_cut(after):
        return unit
    return replace(unit, nodes=(*unit.nodes, after), outputs=tuple(after.outputs))


def _is_constant(node: ir.Node) -> bool:
    """True for a ``Constant`` node: who reads it finds its tensor."""
    return node.op_type == "Constant" and g.constant(node.outputs[0]) is not None


def _activated(part: FactorNode) -> FactorNode:
    after = g.only_user(part.output)
    name = None if after is None else activation_of(after)
    return part if after is None or name is None else with_activation(part, after, name)


def _read(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None]


def _is_map(node: ir.Node, inputs: tuple[ir.Value, ...]) -> bool:
    """All computed inputs have the output's shape; constants are one number, or one per channel."""
    shape = static_shape(node.outputs[0])
    if not shape or any(static_shape(value) != shape for value in inputs):
        return False
    if inputs[0].dtype not in g.FLOATS:
        return False
    return all(
        value is None or value in inputs or constant_axis(value, shape) is not None for value in node.inputs
    )


def constant_axis(value: ir.Value, shape: Shape) -> int | None:
    """0 for a constant of one element, 1 for one number per channel of ``shape``, None for any other."""
    array = g.constant(value)
    if array is None:
        return None
    if array.size == 1 and array.ndim <= len(shape):
        return 0
    wide = (1,) * (len(shape) - array.ndim) + array.shape
    per_channel = len(wide) == len(shape) > 1 and wide[1] == array.size == shape[1]
    return 1 if per_channel else None
