"""Which tensors are stored channels-last: one decision for the whole graph, of least copying.

Convolutions, poolings and resizes read and write channels-last; matrix products and the network's own
inputs and outputs are as ONNX has them; everything else (activations, sums, concatenations, paddings,
reductions, most reshapes) works either way, as long as its axes are translated. Each such node is one
variable that is *first* or *last*. A value whose maker and readers disagree costs one ``TRANSPOSE`` of its
size, paid once however many readers disagree. The cheapest assignment is a minimum cut:

    maker p, readers c_1 .. c_k, size w:   p -w-> a, a -inf-> c_i     (p first, some c_i last)
                                           c_i -inf-> b, b -w-> p     (p last, some c_i first)

Source: Kolmogorov and Zabih, "What energy functions can be minimized via graph cuts?", 2004.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.order import FIRST, Order, axes, bounds, natural, stored_shape

_INFINITE = 1 << 30
#: Elements per unit of cost: flows are 32-bit integers.
_UNIT = 64


class Policy(enum.Enum):
    """How an operator's input 0 and outputs may be stored."""

    LAST = "channels-last"
    FIRST = "as ONNX has it"
    ANY = "either, all of them alike"
    STEM = "reads either, writes channels-last"
    FOLD = "reads either, writes as ONNX has it"
    VIEW = "either, the memory stays"
    TRANSPOSE = "either on both sides"


class Layout:
    """The assignment of one graph.

    Args:
        graph: with static shapes.
        policy: of each node.
        inputs_last: whether the network's inputs are given channels-last.
    """

    def __init__(self, graph: ir.Graph, policy: Callable[[ir.Node], Policy], *, inputs_last: bool) -> None:
        self._policy = {node: policy(node) for node in graph}
        self._last = self._orders(graph)
        self._labels = self._cut(graph, inputs_last)

    def last(self, value: ir.Value) -> Order:
        """The order ``value`` has where it is stored channels-last; ``FIRST`` where it has no other."""
        return self._last.get(value, FIRST)

    def reads_last(self, node: ir.Node) -> bool:
        """True where the node reads its input channels-last."""
        return self._labels[node][0]

    def writes_last(self, node: ir.Node) -> bool:
        """True where the node writes its outputs channels-last."""
        return self._labels[node][1]

    def _orders(self, graph: ir.Graph) -> dict[ir.Value, Order]:
        wanted = self._wanted(graph)
        orders = {value: natural(g_shape(value)) for value in graph.inputs}
        for node in graph:
            data = node.inputs[0] if node.inputs else None
            before = orders.get(data, FIRST) if data is not None else FIRST
            for value in node.outputs:
                of = wanted.get(value)
                orders[value] = self._inherited(node, value, before) if of is None else of
        return orders

    def _inherited(self, node: ir.Node, value: ir.Value, before: Order) -> Order:
        """The order of a result nobody wants in its natural one: the input's, where that still fits."""
        shape, policy = g_shape(value), self._policy[node]
        if policy is Policy.VIEW and before != FIRST:
            return before
        data = node.inputs[0] if node.inputs else None
        if policy is Policy.TRANSPOSE and data is not None:
            return before if _keeps_groups(node, g_shape(data), before) else FIRST
        same = data is not None and g_shape(data) == shape
        return before if policy is Policy.ANY and same else natural(shape)

    def _wanted(self, graph: ir.Graph) -> dict[ir.Value, Order]:
        """The order in which some operator reads a value channels-last.

        It reads it directly, through operators that keep the shape, or through a view of a transposed value:
        frames moved into the batch are ``(N, T | C | H*W)``, not what is natural to ``(N, T, C, H, W)``.
        """
        wanted: dict[ir.Value, Order] = {}
        for node in reversed(graph):
            policy, values = self._policy[node], [value for value in node.inputs if value is not None]
            if policy in (Policy.LAST, Policy.STEM):
                wanted.update((value, natural(g_shape(value))) for value in values[:1])
            elif policy is Policy.ANY:
                self._want_alike(node, values, wanted)
            elif policy is Policy.VIEW and _is_transposed(values[0], self._policy):
                of = wanted.get(node.outputs[0])
                if of is not None and axes(g_shape(values[0]), of) is not None:
                    wanted.setdefault(values[0], of)
        return wanted

    def _want_alike(self, node: ir.Node, values: list[ir.Value], wanted: dict[ir.Value, Order]) -> None:
        """Inputs of a node that treats them alike are wanted as its results are."""
        for result in node.outputs:
            if result not in wanted:
                continue
            shape, of = g_shape(result), wanted[result]
            for value in values:
                if g_shape(value) == shape:
                    wanted.setdefault(value, of)
                elif len(g_shape(value)) == len(shape):
                    wanted.setdefault(value, natural(g_shape(value)))

    def _cut(self, graph: ir.Graph, inputs_last: bool) -> dict[ir.Node, tuple[bool, bool]]:
        cut = _Cut()
        outside = {value: cut.variable(fixed=inputs_last) for value in graph.inputs}
        ports = {node: self._ports(node, cut) for node in graph}
        end = cut.variable(fixed=False)
        readers: dict[ir.Value, set[int]] = {}
        for node in graph:
            for value in node.inputs:
                if value is not None:
                    readers.setdefault(value, set()).add(ports[node][0])
        for value in graph.outputs:
            readers.setdefault(value, set()).add(end)
        for value, used_by in readers.items():
            maker = value.producer()
            made_by = outside.get(value) if maker is None else ports[maker][1]
            if made_by is not None and self.last(value) != FIRST:
                cut.disagree(made_by, used_by, math.prod(g_shape(value)))
        labels = cut.solve()
        return {node: (labels[read], labels[write]) for node, (read, write) in ports.items()}

    def _ports(self, node: ir.Node, cut: _Cut) -> tuple[int, int]:
        """Variables of what the node reads and what it writes."""
        policy = self._policy[node]
        if policy is Policy.STEM:
            return cut.variable(), cut.variable(fixed=True)
        if policy is Policy.FOLD:
            return cut.variable(), cut.variable(fixed=False)
        if policy is Policy.TRANSPOSE:
            return self._transpose_ports(node, cut)
        if policy is Policy.VIEW and self.last(node.outputs[0]) != self.last(_data(node)):
            return cut.variable(fixed=False), cut.variable(fixed=False)
        fixed = {Policy.LAST: True, Policy.FIRST: False}.get(policy)
        both = cut.variable(fixed=fixed)
        return both, both

    def _transpose_ports(self, node: ir.Node, cut: _Cut) -> tuple[int, int]:
        data, result = _data(node), node.outputs[0]
        size = math.prod(g_shape(data))
        cost = [
            [0 if is_copy_free(g_shape(data), before, permutation(node), after) else size for after in orders]
            for orders in [(FIRST, self.last(result))]
            for before in (FIRST, self.last(data))
        ]
        read = cut.variable()
        if cost[0][0] + cost[1][1] <= cost[0][1] + cost[1][0]:
            write = cut.variable()
            cut.pair(read, write, cost)
            return read, write
        side = int(min(cost[0][0], cost[1][0]) > min(cost[0][1], cost[1][1]))
        cut.prefer(read, cost[0][side], cost[1][side])
        return read, cut.variable(fixed=bool(side))


class _Cut:
    """Binary variables, false on the source's side of the cut and true on the sink's."""

    def __init__(self) -> None:
        self._count = 2
        self._edges: list[tuple[int, int, int]] = []

    def variable(self, *, fixed: bool | None = None) -> int:
        made = self._count
        self._count += 1
        if fixed is not None:
            self.prefer(made, _INFINITE * fixed, _INFINITE * (not fixed), unit=1)
        return made

    def prefer(self, variable: int, cost_false: int, cost_true: int, unit: int = _UNIT) -> None:
        self._edge(variable, 1, cost_false, unit)
        self._edge(0, variable, cost_true, unit)

    def pair(self, first: int, second: int, cost: list[list[int]]) -> None:
        """``cost[first][second]``, submodular."""
        (ff, ft), (tf, tt) = cost
        low = min(tf - ff, 0)
        self.prefer(first, -low, tf - ff - low)
        low = min(tt - tf, 0)
        self.prefer(second, -low, tt - tf - low)
        self._edge(first, second, ft + tf - ff - tt, _UNIT)

    def disagree(self, maker: int, readers: set[int], size: int) -> None:
        forth, back = self.variable(), self.variable()
        self._edge(maker, forth, size, _UNIT)
        self._edge(back, maker, size, _UNIT)
        for reader in readers:
            self._edge(forth, reader, _INFINITE, 1)
            self._edge(reader, back, _INFINITE, 1)

    def _edge(self, begin: int, end: int, cost: int, unit: int) -> None:
        if cost > 0 and begin != end:
            self._edges.append((begin, end, min(-(-cost // unit), _INFINITE)))

    def solve(self) -> list[bool]:
        begins, ends, costs = zip(*self._edges, strict=True) if self._edges else ((), (), ())
        shape = (self._count, self._count)
        capacity = coo_matrix((np.array(costs, np.int64), (begins, ends)), shape).tocsr()
        capacity.data = np.minimum(capacity.data, _INFINITE).astype(np.int32)
        flow = maximum_flow(capacity, 0, 1).flow
        residual = capacity.astype(np.int64) - flow.astype(np.int64)
        residual.data = (residual.data > 0).astype(np.int8)
        residual.eliminate_zeros()
        reached = breadth_first_order(residual, 0, return_predecessors=False)
        labels = np.ones(self._count, bool)
        labels[reached] = False
        return [bool(label) for label in labels]


def g_shape(value: ir.Value) -> tuple[int, ...]:
    """Static shape of a value; ``()`` where it is not known (the builder refuses such a value by name)."""
    sizes = g.dims(value)
    if sizes is None or not all(isinstance(size, int) for size in sizes):
        return ()
    return tuple(int(size) for size in sizes if isinstance(size, int))


def permutation(node: ir.Node) -> tuple[int, ...]:
    """Axes of an ONNX Transpose."""
    rank = len(g_shape(_data(node)))
    return g.attr_ints(node, "perm", tuple(reversed(range(rank))))


def physical_permutation(
    shape: tuple[int, ...], before: Order, perm: tuple[int, ...], after: Order
) -> tuple[int, ...] | None:
    """How stored axes move when a value of ``shape`` is transposed and stored in another order."""
    result = tuple(shape[axis] for axis in perm)
    have, want = axes(shape, before), axes(result, after)
    if have is None or want is None:
        return None
    return tuple(have.index(perm[axis]) for axis in want)


def is_copy_free(shape: tuple[int, ...], before: Order, perm: tuple[int, ...], after: Order) -> bool:
    """True where such a transpose moves nothing but axes of size 1."""
    moves = physical_permutation(shape, before, perm, after)
    if moves is None:
        return False
    sizes = stored_shape(shape, before)
    real = [axis for axis in moves if sizes[axis] != 1]
    return real == sorted(real)


def _is_transposed(value: ir.Value, policy: dict[ir.Node, Policy]) -> bool:
    """True for the result of a transpose, seen through operators that keep its shape."""
    maker, shape = value.producer(), g_shape(value)
    while maker is not None and policy[maker] is Policy.ANY:
        data = maker.inputs[0] if maker.inputs else None
        if data is None or g_shape(data) != shape:
            return False
        maker = data.producer()
    return maker is not None and policy[maker] is Policy.TRANSPOSE


def _keeps_groups(node: ir.Node, shape: tuple[int, ...], of: Order) -> bool:
    """True where a transpose moves axes only inside each of the groups n, c and s."""
    cut = bounds(shape, of)
    if cut is None or of == FIRST:
        return False
    group = [0 if a < cut[0] else 1 if a < cut[1] else 2 for a in range(len(shape))]
    return [group[axis] for axis in permutation(node)] == group


def _data(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value
