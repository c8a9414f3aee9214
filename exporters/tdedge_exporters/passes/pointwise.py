"""Paths of operators that treat every position alike, and the same operators on (N, C, *S).

Shared by :mod:`~tdedge_exporters.passes.unwrap_reshape` and
:mod:`~tdedge_exporters.passes.unwrap_transpose`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx_ir as ir

from tdedge.compose import NotExactError
from tdedge.factor import Array, Factor
from tdedge_exporters import factor_nodes
from tdedge_exporters import graph as g

#: Functions of one element, whatever its position.
# fmt: off
ELEMENTWISE = frozenset((
    "Abs", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg",
    "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu",
))
# fmt: on
BINARY = frozenset(("Add", "Div", "Mul", "Sub"))

Sizes = tuple[int | str | None, ...]


def static(sizes: Sequence[int | str | None]) -> bool:
    """True where every size is a known integer."""
    return all(isinstance(size, int) for size in sizes)


def positions(sizes: Sequence[int | str | None]) -> int:
    """Number of positions of known sizes."""
    return math.prod(int(size) for size in sizes if size is not None)


def data_input(node: ir.Node) -> ir.Value | None:
    """The input of an operator that is an activation."""
    if node.op_type in BINARY and g.constant(node.inputs[0]) is not None:
        return node.inputs[1]
    return node.inputs[0]


def walk(
    value: ir.Value | None,
    source: Callable[[ir.Node], ir.Value | None],
    transparent: Callable[[ir.Node], bool],
    member: Callable[[ir.Node], bool],
) -> tuple[ir.Value, list[ir.Node], list[ir.Node]] | None:
    """Go back from ``value`` to where the path starts.

    Args:
        value: where to start.
        source: the value the path may start from, when a node opens it; else None.
        transparent: True for a node that only renumbers positions.
        member: True for a node that treats positions alike.

    Returns:
        The source, the members in order and every node of the path; None where there is no such path.

    Raises:
        NotExactError: when there is one, but a value on it must stay.
    """
    members: list[ir.Node] = []
    path: list[ir.Node] = []
    blocked: str | None = None
    while value is not None and (node := value.producer()) is not None:
        opened = source(node) if members else None
        if opened is not None:
            if blocked is not None:
                raise NotExactError(f"a value between the wrapping nodes must stay: {blocked}")
            return opened, members[::-1], [node, *path[::-1]]
        if member(node):
            members.append(node)
        elif not transparent(node):
            return None
        blocked = blocked or g.not_a_link(value)
        path.append(node)
        value = data_input(node)
    return None


def lift(
    graph: ir.Graph, members: Sequence[ir.Node], source: ir.Value, sizes: Sizes, channel_axis: int
) -> list[ir.Node]:
    """The members on ``source`` of shape (N, C, *S), S = ``sizes``.

    Args:
        graph: gets the new initializers.
        members: Conv, Gemm, MatMul, elementwise and binary nodes, in order.
        source: what the first one reads now.
        sizes: spatial sizes.
        channel_axis: 1 or -1: where the channels are in what the members read before.

    Raises:
        NotExactError: when a member does not treat positions alike.
    """
    factors = [_pointwise(node, channel_axis) for node in members]
    names = g.Names(graph)
    new: list[ir.Node] = []
    value = source
    for node, factor in zip(members, factors, strict=True):
        names.release(node.name)
        stem = g.node_name(node)
        if factor is not None:
            wide = replace(
                factor,
                kernel=factor.kernel.reshape(*factor.kernel.shape[:2], *[1] * len(sizes)),
                stride=(),
                pads=(),
                dilation=(),
            )
            new += factor_nodes.write(graph, names, wide, value, stem)
        else:
            new.append(_elementwise(graph, names, node, value, sizes, channel_axis, stem))
        value = new[-1].outputs[0]
    return new


def _pointwise(node: ir.Node, channel_axis: int) -> Factor | None:
    """The factor of a linear member, None for another one; checks that it treats positions alike."""
    if node.op_type in BINARY:
        _channel_constant(node, channel_axis)
        return None
    if node.op_type == "MatMul":
        kernel = g.float_constant(node.inputs[1])
        if kernel is None or kernel.ndim != 2:
            raise NotExactError("a MatMul between the wrapping nodes has no constant matrix on the right")
        return Factor(kernel.T)
    if node.op_type not in ("Conv", "Gemm"):
        return None
    part = factor_nodes.read(node)
    assert part is not None
    if not part.factor.is_pointwise:
        raise NotExactError(
            f"a {node.op_type} between the wrapping nodes has kernel {part.factor.kernel_size}, stride "
            f"{part.factor.stride}, pads {part.factor.pads}: it mixes positions across the flattened axes"
        )
    return part.factor


def _channel_constant(node: ir.Node, channel_axis: int) -> tuple[int, Array]:
    """Which operand is constant, and its numbers: one, or one per channel."""
    data = data_input(node)
    index = 1 if data is node.inputs[0] else 0
    array = g.float_constant(node.inputs[index])
    sizes = None if data is None else g.dims(data)
    if array is None or sizes is None or array.ndim > len(sizes):
        raise NotExactError(f"a {node.op_type} of two activations between the wrapping nodes")
    shape = (1,) * (len(sizes) - array.ndim) + array.shape
    axis = channel_axis % len(sizes)
    if positions(shape) != shape[axis]:
        raise NotExactError(
            f"a {node.op_type} with a constant of shape {array.shape} differs between positions"
        )
    return index, array.reshape(-1)


def _elementwise(
    graph: ir.Graph,
    names: g.Names,
    node: ir.Node,
    value: ir.Value,
    sizes: Sizes,
    channel_axis: int,
    stem: str,
) -> ir.Node:
    inputs: list[ir.Value | None] = [value, *node.inputs[1:]]
    if node.op_type in BINARY:
        index, array = _channel_constant(node, channel_axis)
        shaped = array.reshape(1, -1, *[1] * len(sizes)) if array.size > 1 else array.reshape(())
        weight = g.add_initializer(graph, names.fresh(f"{stem}.constant"), shaped)
        inputs = [value, weight] if index == 1 else [weight, value]
    return g.new_node(
        node.op_type,
        inputs,
        list(node.attributes.values()),
        name=names.fresh(stem),
        output=names.fresh(f"{stem}.out"),
        like=value,
        shape=g.dims(value),
    )


def swap(graph: ir.Graph, path: Sequence[ir.Node], last: ir.Node, new: Sequence[ir.Node]) -> None:
    """Put ``new`` in the place of ``last`` and drop the nodes of ``path`` that nobody uses then."""
    inputs = [value for node in path for value in node.inputs if value is not None]
    g.replace([last], new, last.outputs[0])
    for node in reversed(path):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    g.drop_unused(graph, inputs)
