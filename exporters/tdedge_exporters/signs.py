"""Sums in the place of differences: the sign of a value chosen where weights can take it.

A value x that nothing but convolutions, sums, differences and products with a number read may be held as -x::

    W * x + b = (-W) * (-x) + b          -(W * x + b) = (-W) * x + (-b)          convolutions
    c x = (-c) (-x)                      -(c x) = (-c) x                         products with a number
    x - y = x + (-y)                     -(x - y) = (-x) + y                     differences

Always exact, to the last bit but the sign of a zero: rounding to nearest is symmetric. What changes is how
many differences are left. Minimal filtering (:mod:`.planner.forms.minimal`, two outputs a block) takes a sum
and three differences of frames; where a pointwise factor gives the frames, three sums and a difference of
frames held as ``+ - - + + - - +``. The price: weights that give values of both signs are stored twice.

In execution order a sum asks for operands of one sign, a difference for operands of two; one that contradicts
those before it stays, or becomes, a difference (a spanning forest of signed edges, by union-find).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from tdedge_exporters import graph as g

#: The sign of the second operand.
_SUMS = {"Add": 1, "Sub": -1}

#: Two values, and the product of the signs that they are to be held with; None is held as it is.
_Tie = tuple[ir.Value | None, ir.Value | None, int]
#: Value -> 1 where it is held as it is, -1 where negated; those without one are held as they are.
_Signs = Mapping[ir.Value | None, int]


def choose_signs(model: ir.Model) -> None:
    """Rewrite the graph of ``model`` in place, with as few differences as this finds.

    Values that are held negated get other names.
    """
    graph = model.graph
    signs = _signs(graph)
    if sum(_is_difference(node, signs) for node in graph) < sum(node.op_type == "Sub" for node in graph):
        _write(graph, signs)


def number_of(node: ir.Node) -> tuple[int, float] | None:
    """Which input of a product is one constant number, and the number; None for any other node."""
    if node.op_type != "Mul":
        return None
    for index, value in enumerate(node.inputs):
        array = g.float_constant(value)
        if array is not None and array.size == 1:
            return index, float(array.item())
    return None


class _Forest:
    """Values whose signs are tied to one another."""

    def __init__(self) -> None:
        self._parents: dict[ir.Value | None, tuple[ir.Value | None, int]] = {}

    def find(self, value: ir.Value | None) -> tuple[ir.Value | None, int]:
        """(root, sign relative to it)."""
        sign = 1
        while value in self._parents:
            value, step = self._parents[value]
            sign *= step
        return value, sign

    def tie(self, *ties: _Tie) -> bool:
        """Tie all of them; none where one contradicts what is tied."""
        made = []
        for value, other, sign in ties:
            (root, mine), (end, theirs) = self.find(value), self.find(other)
            if root is not end:
                if root is None:
                    root, end = end, root
                self._parents[root] = (end, mine * theirs * sign)
                made.append(root)
            elif mine * theirs != sign:
                for each in made:
                    del self._parents[each]
                return False
        return True


def _signs(graph: ir.Graph) -> _Signs:
    free: set[ir.Value | None] = {value for node in graph for value in node.outputs if _is_free(value)}
    while True:
        forest = _Forest()
        wrong = next((node for node in graph if not _tied(forest, node, free)), None)
        if wrong is None:
            return {value: forest.find(value)[1] for node in graph for value in node.outputs if value in free}
        free -= {*wrong.inputs, *wrong.outputs}


def _tied(forest: _Forest, node: ir.Node, free: set[ir.Value | None]) -> bool:
    """Tie what ``node`` reads and gives; False where its signs cannot be held."""
    if node.op_type not in _SUMS:
        return True
    first, second, result = (value if value in free else None for value in (*node.inputs, *node.outputs))
    sign = _SUMS[node.op_type]
    # Of operands held alike the sum is held like them; a difference can be taken either way.
    return forest.tie((first, second, sign), (first, result, 1)) or forest.tie((first, second, -sign))


def _is_free(value: ir.Value) -> bool:
    """Whether it may be held negated."""
    maker = value.producer()
    if maker is None or value.is_graph_output() or value.dtype not in g.FLOATS:
        return False
    return all(node.op_type in _SUMS or _weights(node) for node in (maker, *value.consumers()))


def _weights(node: ir.Node) -> tuple[int, ...]:
    """The constant inputs of a convolution, or of a product with a number: weights, then a bias.

    Empty for any other node.
    """
    if (number := number_of(node)) is not None:
        return number[:1]
    constants = tuple(index for index, value in enumerate(node.inputs) if g.float_constant(value) is not None)
    return constants if node.op_type == "Conv" and constants == tuple(range(1, len(node.inputs))) else ()


def _is_difference(node: ir.Node, signs: _Signs) -> bool:
    """Whether ``node`` subtracts what is held."""
    if node.op_type not in _SUMS:
        return False
    first, second = (signs.get(value, 1) for value in node.inputs)
    return first * second != _SUMS[node.op_type]


def _write(graph: ir.Graph, signs: _Signs) -> None:
    names = g.Names(graph)
    negated: dict[ir.Value, ir.Value] = {}

    def minus(value: ir.Value) -> ir.Value:
        if value not in negated:
            array = g.float_constant(value)
            assert array is not None
            negated[value] = g.add_initializer(graph, names.fresh(f"{value.name}.minus"), -array)
        return negated[value]

    for node in list(graph):
        if node.op_type in _SUMS:
            _write_sum(node, signs)
        for index in _to_negate(node, signs):
            value = node.inputs[index]
            assert value is not None
            node.replace_input_with(index, minus(value))
    for made, sign in signs.items():
        if sign == -1 and made is not None:
            made.name = names.fresh(f"{made.name}.minus")
    g.drop_unused(graph, list(negated))


def _to_negate(node: ir.Node, signs: _Signs) -> Iterator[int]:
    """Constant inputs that take the signs of what ``node`` reads and gives."""
    weights, given = _weights(node), signs.get(node.outputs[0], 1)
    for place, index in enumerate(weights):
        read = next(signs.get(value, 1) for at, value in enumerate(node.inputs) if at not in weights)
        if (given if place else given * read) == -1:
            yield index


def _write_sum(node: ir.Node, signs: _Signs) -> None:
    first, second = node.inputs
    if not _is_difference(node, signs):
        node.op_type = "Add"
        return
    node.op_type = "Sub"
    if signs.get(node.outputs[0], 1) != signs.get(first, 1):
        node.replace_input_with(0, second)
        node.replace_input_with(1, first)
