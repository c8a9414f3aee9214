"""Which tensors of a graph are quantised, and which of them share a grid.

A product (``Conv``, ``Gemm``, ``MatMul`` with a constant weight) runs on integers when its input and its
output are on grids. Its own result is not put on one where an activation alone reads it: runtimes compute
both together. Operators that only move numbers, or choose among them (``MaxPool``), give what they are
given: their inputs and outputs share one grid, as do all parts of a ``Concat``. Sums, products of two
activations and poolings that average run on integers where all they read comes from such operators.
Everything else stays float32 between ``DequantizeLinear`` and ``QuantizeLinear``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from tdedge_exporters import graph as g

#: Sums of products with constant weights.
PRODUCTS = ("Conv", "Gemm", "MatMul")
#: One grid for what they read and give.
MOVES = frozenset(
    (
        *("DepthToSpace", "Expand", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice"),
        *("SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    )
)
#: Of those and of choices among several tensors, what runtimes compute on the integers themselves alone.
WHOLE = frozenset(("DepthToSpace", "Max", "Min", "Pad", "SpaceToDepth"))
#: Choose among several tensors on one grid.
CHOICES = ("Max", "Min")
#: Integers in, integers out, each on a grid of its own.
COMPUTES = ("Add", "Mul", "AveragePool", "GlobalAveragePool")
#: Activations that a grid applies by being cut off where they are.
CUTS = ("Relu", "Clip")
#: Activations that runtimes have on integers.
CURVES = ("Sigmoid", "LeakyRelu")


@dataclass
class Scheme:
    """What is quantised in one graph.

    Attributes:
        groups: values that share a grid, every group once, in execution order.
        weights: initializers that are weights of integer products -> axis of their output channels.
        edges: float32 outputs of the graph that are given a grid all the same.
        products: names of the products on integers.
        kept: names of products that stay float32 -> why.
    """

    groups: list[list[ir.Value]] = field(default_factory=list)
    weights: dict[ir.Value, int] = field(default_factory=dict)
    edges: set[ir.Value] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)
    products: list[str] = field(default_factory=list)


def weight_axis(node: ir.Node) -> int | None:
    """Axis of the output channels of a product's weight; None where the node cannot run on integers."""
    if node.op_type not in PRODUCTS or node.domain not in ("", "ai.onnx"):
        return None
    weight = node.inputs[1]
    array = g.float_constant(weight)
    if array is None or g.constant(node.inputs[0]) is not None:
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None and g.float_constant(node.inputs[2]) is None:
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return array.ndim - 1 if array.ndim == 2 else None
    plain = g.attr_float(node, "alpha", 1.0) == g.attr_float(node, "beta", 1.0) == 1.0
    if not plain or g.attr_int(node, "transA", 0):
        return None
    return 0 if g.attr_int(node, "transB", 0) else 1


def is_cut(node: ir.Node) -> bool:
    """True for an activation that a grid applies by where it ends; zero stays zero."""
    if node.op_type == "Relu":
        return True
    if node.op_type != "Clip":
        return False
    bounds = [g.float_constant(value) for value in (*node.inputs[1:3], None, None)[:2]]
    return bounds[0] is not None and bounds[1] is not None and float(bounds[0]) == 0.0


def scheme(model: ir.Model, keep: Collection[str] = ()) -> Scheme:
    """What of ``model`` is quantised.

    Args:
        model: with float32 activations.
        keep: names of products that stay float32.
    """
    return _Analysis(model, keep).result()


class _Analysis:
    def __init__(self, model: ir.Model, keep: Collection[str]) -> None:
        self.graph = model.graph
        self.keep = frozenset(keep)
        self.made = Scheme()
        self.parent: dict[ir.Value, ir.Value] = {}
        self.integer: set[ir.Value] = set()  # values that are on a grid, or could be at no cost
        self.wanted: set[ir.Value] = set()
        self.order: dict[ir.Value, int] = {}

    def result(self) -> Scheme:
        for value in self.graph.inputs:
            if _is_float(value):
                self._add(value)
                self.integer.add(value)
        for node in self.graph:
            self._visit(node)
        self._collect()
        return self.made

    # One node

    def _visit(self, node: ir.Node) -> None:
        for value in node.outputs:
            self._add(value)
        axis = weight_axis(node)
        name = g.node_name(node)
        if axis is not None and name in self.keep:
            self.made.kept[name] = "asked for"
        elif axis is not None:
            self._product(node, axis)
        elif node.op_type in MOVES and _is_float(node.inputs[0]):
            self._move(node)
        elif node.op_type == "Concat" or (node.op_type in CHOICES and _is_computed(node)):
            self._join(node)
        elif node.op_type in COMPUTES and self._reads_integers(node):
            self.wanted.update(self._data(node))
            self._give(node.outputs)
        elif is_cut(node) or node.op_type in CURVES:
            self._activate(node)

    def _product(self, node: ir.Node, axis: int) -> None:
        data, weight = node.inputs[0], node.inputs[1]
        assert data is not None and weight is not None
        if not _is_float(data):
            return
        self.wanted.add(data)
        self.integer.add(data)  # put on a grid here, where it is none yet
        self.made.weights[weight] = axis
        self.made.products.append(g.node_name(node))
        self._give(node.outputs)
        result = node.outputs[0]
        if node.op_type != "Conv" and self._ends_float(result):
            self.made.edges.add(result)
            self.integer.discard(result)

    def _ends_float(self, value: ir.Value) -> bool:
        """True where a product's result leaves the integers at once: it is best given in float32."""
        return value.is_graph_output() or not any(self._takes_integers(node) for node in value.consumers())

    @staticmethod
    def _takes_integers(node: ir.Node) -> bool:
        known = node.op_type in MOVES or node.op_type in (*COMPUTES, *CUTS, *CURVES, *CHOICES, "Concat")
        return known or weight_axis(node) is not None

    def _move(self, node: ir.Node) -> None:
        if node.op_type == "Pad" and not _pads_zeros(node):
            return
        data = node.inputs[0]
        assert data is not None
        for value in node.outputs:
            self._unite(data, value)
            if data in self.integer:
                self.integer.add(value)

    def _join(self, node: ir.Node) -> None:
        data = self._data(node)
        constants = [value for value in node.inputs if value is not None and g.constant(value) is not None]
        if not data or not all(value in self.integer for value in data) or not _is_float(data[0]):
            return
        for value in (*data, *constants):
            self._add(value)
            self._unite(value, node.outputs[0])
        self.integer.add(node.outputs[0])

    def _activate(self, node: ir.Node) -> None:
        data = node.inputs[0]
        assert data is not None
        if data not in self.integer:
            return
        self._give(node.outputs)
        maker = data.producer()
        fused = is_cut(node) and g.only_user(data) is node and maker is not None
        if not (fused and maker is not None and (weight_axis(maker) is not None or maker.op_type == "Add")):
            self.wanted.add(data)
            return
        self.integer.discard(data)  # computed together with what makes it
        self.made.edges.discard(data)

    def _reads_integers(self, node: ir.Node) -> bool:
        data = self._data(node)
        floats = all(_is_float(value) for value in node.inputs if value is not None)
        return bool(data) and floats and all(value in self.integer for value in data)

    def _give(self, values: Iterable[ir.Value]) -> None:
        for value in values:
            self.integer.add(value)
            self.wanted.add(value)

    @staticmethod
    def _data(node: ir.Node) -> list[ir.Value]:
        return [value for value in node.inputs if value is not None and g.constant(value) is None]

    # Groups

    def _add(self, value: ir.Value) -> None:
        self.parent.setdefault(value, value)
        self.order.setdefault(value, len(self.order))

    def _find(self, value: ir.Value) -> ir.Value:
        self._add(value)
        while self.parent[value] is not value:
            self.parent[value] = self.parent[self.parent[value]]
            value = self.parent[value]
        return value

    def _unite(self, first: ir.Value, second: ir.Value) -> None:
        self.parent[self._find(second)] = self._find(first)

    def _collect(self) -> None:
        self._sum_constants()
        members: dict[ir.Value, list[ir.Value]] = {}
        for value in sorted(self.order, key=self.order.__getitem__):
            members.setdefault(self._find(value), []).append(value)
        edges = self.made.edges
        for values in members.values():
            chosen = [v for v in values if v in self.integer or v in edges or g.constant(v) is not None]
            if any(value in self.wanted for value in values) and chosen:
                self.made.groups.append(chosen)

    def _sum_constants(self) -> None:
        """Constants that are added to, or multiplied with, integers have grids of their own."""
        for node in self.graph:
            if node.op_type in ("Add", "Mul") and node.outputs[0] in self.integer:
                for value in node.inputs:
                    if value is not None and g.constant(value) is not None:
                        self._add(value)
                        self.wanted.add(value)


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT


def _is_computed(node: ir.Node) -> bool:
    """True where no input is a constant, and all have one shape."""
    values = [value for value in node.inputs if value is not None]
    return all(g.constant(v) is None and g.dims(v) == g.dims(values[0]) for v in values)


def _pads_zeros(node: ir.Node) -> bool:
    mode = g.attr_string(node, "mode", "constant")
    filler = g.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else 0.0
    return mode == "constant" and filler is not None and float(filler) == 0.0
