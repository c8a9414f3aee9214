"""Small questions to, and edits of, an ``onnx_ir`` graph that every pass needs.

A *constant* is an initializer that no caller can override (it is no graph input) or the output of a
``Constant`` node. A *link* is a value with one use that is no graph output: only a link may disappear.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from tdedge.factor import Shape

#: Element types whose weights the passes read and write.
FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


def constant(value: ir.Value | None) -> NDArray[np.generic] | None:
    """The array a value always holds, or None."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def float_constant(value: ir.Value | None) -> NDArray[np.floating] | None:
    """The floating-point array a value always holds, or None."""
    array: NDArray[Any] | None = constant(value)
    return array if array is not None and np.issubdtype(array.dtype, np.floating) else None


def dims(value: ir.Value) -> tuple[int | str | None, ...] | None:
    """Sizes of a value: an integer, the name of a symbolic size, or None where unknown."""
    if value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else size.value for size in value.shape)


def same_size(first: int | str | None, second: int | str | None) -> bool:
    """True where both sizes are known to be equal: the same integer or the same symbol."""
    return first is not None and first == second


def counting_shape(value: ir.Value) -> Shape | None:
    """Shape of a value with 1 for a symbolic first axis (the batch); None where another axis is not static.

    Multiply-accumulates are counted with it: they are proportional to the batch.
    """
    sizes = dims(value)
    if not sizes:
        return None
    sizes = (sizes[0] if isinstance(sizes[0], int) else 1, *sizes[1:])
    return tuple(map(int, sizes)) if all(isinstance(size, int) for size in sizes) else None  # type: ignore[arg-type]


def only_user(value: ir.Value) -> ir.Node | None:
    """The node that uses a link; None where the value is no link."""
    if value.is_graph_output() or len(value.uses()) != 1:
        return None
    return value.consumers()[0]


def not_a_link(value: ir.Value) -> str | None:
    """Why a value must stay (graph output, several uses), or None where it is a link."""
    if value.is_graph_output():
        return f"{value.name!r} is a graph output"
    if len(value.uses()) > 1:
        return f"{value.name!r} has {len(value.uses())} consumers"
    return None


def node_name(node: ir.Node) -> str:
    """The node's name, or its first output's where it has none."""
    return node.name or (node.outputs[0].name if node.outputs else None) or node.op_type


class Names:
    """Fresh names for one graph, its subgraphs included."""

    def __init__(self, graph: ir.Graph) -> None:
        self._used: set[str] = {name for name in _names(graph) if name}

    def fresh(self, stem: str) -> str:
        """``stem``, or ``stem_2``, ``stem_3``, ... where it is taken."""
        name, count = stem, 1
        while name in self._used:
            count += 1
            name = f"{stem}_{count}"
        self._used.add(name)
        return name

    def release(self, name: str | None) -> None:
        """Allow a name again whose owner is about to be removed."""
        self._used.discard(name or "")


def _names(graph: ir.Graph) -> Iterator[str | None]:
    yield from graph.initializers
    yield from (value.name for value in graph.inputs)
    for node in ir.traversal.RecursiveGraphIterator(graph):
        yield node.name
        yield from (value.name for value in node.outputs)
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                inner = attribute.as_graph()
                yield from inner.initializers
                yield from (value.name for value in inner.inputs)


def add_initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Register ``array`` under a name that must be free; its shape and type are set."""
    tensor = ir.tensor(np.asarray(array, order="C"), name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape))
    value.const_value = tensor
    graph.register_initializer(value)
    return value


def new_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Iterable[ir.Attr] = (),
    *,
    name: str,
    output: str,
    like: ir.Value,
    shape: Sequence[int | str | None] | None,
) -> ir.Node:
    """A node of one output, with the element type of ``like``, a shape and names already fresh."""
    node = ir.Node("", op_type, inputs, attributes, name=name)
    node.outputs[0].name = output
    node.outputs[0].type = like.type
    node.outputs[0].shape = None if shape is None else ir.Shape(shape)
    return node


def replace(old: Sequence[ir.Node], new: Sequence[ir.Node], old_value: ir.Value) -> None:
    """Put ``new`` where the last of ``old`` stood; its last output takes over name, type, shape and uses.

    Initializers that only ``old`` used are dropped; shared ones are left as they are.
    """
    graph = old[-1].graph
    assert isinstance(graph, ir.Graph)
    inputs = [value for node in old for value in node.inputs if value is not None]
    output = new[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(graph, old[-1], list(old), list(new), [old_value], [output])
    drop_unused(graph, inputs)


def drop_unused(graph: ir.Graph, values: Iterable[ir.Value]) -> None:
    """Remove those of ``values`` that are initializers of ``graph`` nobody uses."""
    for value in values:
        unused = not value.uses() and not value.is_graph_output() and not value.is_graph_input()
        if unused and value.name is not None and graph.initializers.get(value.name) is value:
            del graph.initializers[value.name]


def attr_ints(node: ir.Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    """An attribute of integers."""
    attribute = node.attributes.get(name)
    return tuple(default) if attribute is None else tuple(attribute.as_ints())


def attr_int(node: ir.Node, name: str, default: int) -> int:
    """An attribute of one integer."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def attr_float(node: ir.Node, name: str, default: float) -> float:
    """An attribute of one number."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def attr_string(node: ir.Node, name: str, default: str) -> str:
    """An attribute of text."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()
