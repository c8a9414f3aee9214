"""What a network costs: parameters, multiply-accumulates, floating-point operations, activation memory.

Counting rules (source: Rasmussen et al. 2022, arXiv 2203.07033): an output that sums ``n`` products costs
``n`` multiply-accumulates and ``2n - 1`` floating-point operations, one more with a bias. Zero padding
counts like any other value. Convolutions, ``Gemm``, ``MatMul`` and ``Einsum`` are counted; activations,
pooling, normalisation, element-wise and layout operators are free. An ``Add`` of one constant per channel
after such a layer is its bias.

Peak activation memory is the largest sum of tensors alive at once when the nodes run in the stored order:
a tensor lives from its producer to its last reader, a network input from the start, a network output to
the end. No tensor reuses the memory of another (no in-place operators, no free views), so a runtime may
need less; weights and values computed from weights alone are not activations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir

from tdedge.errors import UsageError
from tdedge.factor import Shape

_LINEAR_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class LayerCost:
    """Cost of one node that multiplies or holds parameters.

    Attributes:
        name: of the node, or of its output where the node has none.
        op: operator type.
        macs: multiply-accumulates.
        flops: additions and multiplications.
        params: stored weights first read by this node or by the ``Add`` that is its bias.
        output_shape: shape of the first output.
    """

    name: str
    op: str
    macs: int
    flops: int
    params: int
    output_shape: Shape


@dataclass(frozen=True)
class NetworkCost:
    """Cost of a whole network.

    Attributes:
        params: stored weights (floating point), each tensor once however often it is read.
        weight_bytes: their size as stored.
        macs: multiply-accumulates of one inference.
        flops: additions and multiplications of one inference.
        peak_activation_bytes: see the module.
        layers: every node that multiplies or holds parameters, in order.
    """

    params: int
    weight_bytes: int
    macs: int
    flops: int
    peak_activation_bytes: int
    layers: tuple[LayerCost, ...]

    def totals(self) -> dict[str, int]:
        """Every figure but the layers."""
        return {key: value for key, value in vars(self).items() if key != "layers"}

    def to_json(self) -> dict[str, Any]:
        """Totals and layers as plain JSON values."""
        return {**self.totals(), "layers": [asdict(layer) for layer in self.layers]}


@dataclass
class _Layer:
    """A layer while it is being counted."""

    node: ir.Node
    macs: int
    flops: int
    params: int

    def frozen(self) -> LayerCost:
        output = self.node.outputs[0]
        name = self.node.name or output.name or ""
        return LayerCost(name, self.node.op_type, self.macs, self.flops, self.params, shape_of(output))


def network_cost(model: ir.Model) -> NetworkCost:
    """Count ``model``, a graph with static shapes.

    Raises:
        UsageError: when the shape or type of a value that matters is not known.
    """
    nodes = list(model.graph)
    constants = _constants(nodes)
    weights: dict[ir.Value, None] = {}
    layers: dict[ir.Node, _Layer] = {}
    for node in nodes:
        params = 0
        for value in _reads(node):
            if _is_weight(value) and value not in weights:
                weights[value] = None
                params += math.prod(shape_of(value))
        layer = _biased_layer(node, layers, constants)
        if layer is not None:
            layer.flops += math.prod(shape_of(node.outputs[0]))
            layer.params += params
            continue
        macs = _macs(node)
        if macs or params:
            layers[node] = _Layer(node, macs, _flops(node, macs), params)
    return NetworkCost(
        params=sum(math.prod(shape_of(value)) for value in weights),
        weight_bytes=sum(_bytes(value) for value in weights),
        macs=sum(layer.macs for layer in layers.values()),
        flops=sum(layer.flops for layer in layers.values()),
        peak_activation_bytes=_peak(model.graph, nodes, constants),
        layers=tuple(layer.frozen() for layer in layers.values()),
    )


def shape_of(value: ir.Value) -> Shape:
    """The static shape of ``value``.

    Raises:
        UsageError: when it is unknown or has a dynamic axis.
    """
    if value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        known = "unknown" if value.shape is None else str(value.shape)
        raise UsageError(
            f"value {value.name!r} has no static shape ({known}); "
            "give the network static input shapes with --input-shape NAME=1,3,224,224"
        )
    return tuple(int(size) for size in value.shape if isinstance(size, int))


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """Values a node reads, those its subgraphs take from outside included."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                yield from _reads(inner)


def _constants(nodes: list[ir.Node]) -> set[ir.Value]:
    """Outputs of nodes that read nothing but stored values."""
    found: set[ir.Value] = set()
    for node in nodes:
        if all(value.is_initializer() or value in found for value in _reads(node)):
            found.update(node.outputs)
    return found


def _is_weight(value: ir.Value) -> bool:
    """A stored floating-point tensor: an initializer, or one that is filled with a constant."""
    producer = value.producer()
    filled = producer is not None and producer.op_type in ("Constant", "ConstantOfShape")
    if not (filled or value.is_initializer()):
        return False
    dtype = value.dtype if value.const_value is None else value.const_value.dtype
    return dtype is not None and dtype.is_floating_point()


def _biased_layer(node: ir.Node, layers: dict[ir.Node, _Layer], constants: set[ir.Value]) -> _Layer | None:
    """The layer ``node`` adds a bias to: one constant per channel, or per output feature."""
    if node.op_type != "Add" or node.domain not in _LINEAR_DOMAINS:
        return None
    for value, other in (node.inputs, reversed(node.inputs)):
        if value is None or other is None or not (other.is_initializer() or other in constants):
            continue
        producer = value.producer()
        layer = layers.get(producer) if producer is not None else None
        if layer is None or not layer.macs or shape_of(value) != shape_of(node.outputs[0]):
            continue
        shape, axis = shape_of(value), 1 if "Conv" in layer.node.op_type else -1
        aligned = (1,) * (len(shape) - len(shape_of(other))) + shape_of(other)
        expected = [1] * len(shape)
        expected[axis] = shape[axis]
        if list(aligned) == expected:
            return layer
    return None


def _flops(node: ir.Node, macs: int) -> int:
    if not macs:
        return 0
    has_bias = node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.inputs) > 2 and node.inputs[2]
    outputs = math.prod(shape_of(node.outputs[0]))
    return max(0, 2 * macs - (0 if has_bias else outputs))


def _macs(node: ir.Node) -> int:
    count = _MACS.get(node.op_type) if node.domain in _LINEAR_DOMAINS else None
    return count(node) if count else 0


def _input_shape(node: ir.Node, index: int) -> Shape:
    value = node.inputs[index]
    if value is None:
        raise UsageError(f"node {node.name!r} ({node.op_type}) lacks input {index}; the graph is not valid")
    return shape_of(value)


def _conv(node: ir.Node) -> int:
    """Every output sums C_in/groups * prod(k) products."""
    return math.prod(shape_of(node.outputs[0])) * math.prod(_input_shape(node, 1)[1:])


def _conv_transpose(node: ir.Node) -> int:
    """Every input is multiplied into C_out/groups * prod(k) outputs; products cropped by pads count."""
    return math.prod(_input_shape(node, 0)) * math.prod(_input_shape(node, 1)[1:])


def _gemm(node: ir.Node) -> int:
    attribute = node.attributes.get("transA")
    transposed = attribute is not None and attribute.as_int() != 0
    return math.prod(shape_of(node.outputs[0])) * _input_shape(node, 0)[0 if transposed else 1]


def _matmul(node: ir.Node) -> int:
    return math.prod(shape_of(node.outputs[0])) * _input_shape(node, 0)[-1]


def _einsum(node: ir.Node) -> int:
    """One product per combination of all indices and per further operand."""
    equation = node.attributes["equation"].as_string().replace(" ", "").partition("->")[0]
    sizes: dict[str | int, int] = {}
    for index, term in enumerate(equation.split(",")):
        shape = _input_shape(node, index)
        before, dots, after = term.partition("...")
        free = len(shape) - len(before) - len(after) if dots else 0
        labels: list[str | int] = [*before, *range(-free, 0), *after]
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return math.prod(sizes.values()) * (len(node.inputs) - 1)


_MACS: dict[str, Callable[[ir.Node], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
}


def _bytes(value: ir.Value) -> int:
    elements = math.prod(shape_of(value))
    dtype = value.dtype if value.const_value is None else value.const_value.dtype
    if dtype is None:
        raise UsageError(f"value {value.name!r} has no known type; the graph needs type inference")
    return math.ceil(elements * dtype.itemsize)


def _peak(graph: ir.Graph, nodes: list[ir.Node], constants: set[ir.Value]) -> int:
    """Largest number of bytes alive while a node runs, in the stored order."""
    last = {value: index for index, node in enumerate(nodes) for value in _reads(node)}
    last |= dict.fromkeys(graph.outputs, len(nodes))
    alive = sum(_bytes(value) for value in graph.inputs if not value.is_initializer())
    peak = alive
    for index, node in enumerate(nodes):
        outputs = [v for v in node.outputs if v.name and v not in constants]
        used = [value for value in outputs if value in last]
        sizes = {value: _bytes(value) for value in used}
        alive += sum(sizes.values())
        peak = max(peak, alive)
        for value in dict.fromkeys(_reads(node)):
            if last[value] == index and not value.is_initializer() and value not in constants:
                alive -= _bytes(value) if _is_outer(value, graph) else 0
    return peak


def _is_outer(value: ir.Value, graph: ir.Graph) -> bool:
    """True for a value of the main graph, False for one that lives inside a subgraph."""
    producer = value.producer()
    return value in graph.inputs if producer is None else producer.graph is graph
