"""One factor and the ONNX nodes that compute it: reading and writing.

Read:
    Conv(x, W[, b])                     1-D to 3-D, W and b constant, ``auto_pad`` resolved
    Gemm(x, W[, b])                     transA = 0; alpha and beta go into the weights
    MatMul(x, W) [+ Add(., b)]          W constant (C_in, C_out), b constant along the last axis
Written: Conv, Gemm (rank-2 input, transB = 1) or MatMul with Add (any other rank), each with its
activation node. (Source: the ONNX operator specification, opset 18.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from tdedge.compose import NotExactError
from tdedge.errors import UsageError
from tdedge.factor import Array, Factor, Shape
from tdedge_exporters import graph as g

_ACTIVATIONS = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}
_OPS = {activation: op for op, activation in _ACTIVATIONS.items()}


@dataclass(frozen=True, eq=False)
class FactorNode:
    """A factor and where a graph computes it.

    Attributes:
        factor: weights are views of the graph's initializers.
        nodes: the Conv, Gemm or MatMul, then its Add and its activation where they are part of it.
        input_shape: shape of ``input``, with 1 for a symbolic batch.
    """

    factor: Factor
    nodes: tuple[ir.Node, ...]
    input_shape: Shape

    @property
    def input(self) -> ir.Value:
        """(N, C_in, *spatial), or (..., C_in) for a Linear layer; follows edits of the graph before it."""
        value = self.nodes[0].inputs[0]
        assert value is not None
        return value

    @property
    def output(self) -> ir.Value:
        """What the last of ``nodes`` gives."""
        return self.nodes[-1].outputs[0]

    @property
    def name(self) -> str:
        """Name of the first node, or of its output where it has none."""
        return g.node_name(self.nodes[0])

    @property
    def weight(self) -> ir.Value:
        """The kernel's value in the graph."""
        value = self.nodes[0].inputs[1]
        assert value is not None
        return value


def activation_of(node: ir.Node) -> str | None:
    """The factor activation a node computes, or None."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Clip":
        low, high = (g.constant(value) for value in (*node.inputs[1:3], *[None] * (3 - len(node.inputs))))
        bounded = low is not None and low.size == 1 and low.item() == 0
        return "relu6" if bounded and high is not None and high.size == 1 and high.item() == 6 else None
    return _ACTIVATIONS.get(node.op_type)


def read(node: ir.Node) -> FactorNode | None:
    """The factor a node starts; None where it is no Conv, Gemm or MatMul.

    Raises:
        NotExactError: where it is one that is no factor; the message is the reason.
    """
    reader = {"Conv": _read_conv, "Gemm": _read_gemm, "MatMul": _read_matmul}.get(node.op_type)
    if reader is None or node.domain not in ("", "ai.onnx"):
        return None
    data, weight = node.inputs[0], node.inputs[1]
    assert data is not None
    kernel = g.float_constant(weight)
    if kernel is None:
        return _refuse(f"the {node.op_type}'s weight {_name(weight)} is not a constant")
    if data.dtype not in g.FLOATS:
        return _refuse(f"element type {data.dtype} is none of float16, float32, float64")
    shape = g.counting_shape(data)
    if shape is None:
        return _refuse(f"input {data.name!r} has no static shape apart from its batch: {g.dims(data)}")
    try:
        return reader(node, kernel, shape)
    except NotExactError:
        raise
    except UsageError as error:
        return _refuse(error.message)


def _refuse(reason: str) -> FactorNode:
    raise NotExactError(reason)


def _name(value: ir.Value | None) -> str:
    return repr(None if value is None else value.name)


def _bias(node: ir.Node) -> Array | None:
    """The third input, where there is one."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return None
    bias = g.float_constant(value)
    if bias is None:
        raise NotExactError(f"the {node.op_type}'s bias {_name(value)} is not a constant")
    return bias


def _read_conv(node: ir.Node, kernel: Array, shape: Shape) -> FactorNode:
    axes = kernel.ndim - 2
    ones = (1,) * axes
    stride, dilation = g.attr_ints(node, "strides", ones), g.attr_ints(node, "dilations", ones)
    pads = conv_pads(node, kernel.shape[2:], shape[2:])
    if min((min(pair) for pair in pads), default=0) < 0:
        raise NotExactError(f"negative pads {pads} crop the input")
    factor = Factor(kernel, stride, pads, dilation, groups=g.attr_int(node, "group", 1), bias=_bias(node))
    factor.output_shape(shape)
    return FactorNode(factor, (node,), shape)


def conv_pads(node: ir.Node, kernel_size: Shape, spatial: Shape) -> tuple[tuple[int, int], ...]:
    """(begin, end) pads per spatial axis, with ``auto_pad`` resolved for an input of this spatial size."""
    axes = len(kernel_size)
    auto = g.attr_string(node, "auto_pad", "NOTSET")
    if auto == "NOTSET":
        flat = g.attr_ints(node, "pads", (0,) * (2 * axes))
        return tuple(zip(flat[:axes], flat[axes:], strict=True))
    if auto == "VALID":
        return ((0, 0),) * axes
    strides, dilations = (g.attr_ints(node, key, (1,) * axes) for key in ("strides", "dilations"))
    pads = []
    for size, taps, stride, dilation in zip(spatial, kernel_size, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + dilation * (taps - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return tuple(pads)


def _read_gemm(node: ir.Node, kernel: Array, shape: Shape) -> FactorNode:
    if g.attr_int(node, "transA", 0):
        raise NotExactError("the Gemm transposes its input")
    if not g.attr_int(node, "transB", 0):
        kernel = kernel.T
    alpha, beta = g.attr_float(node, "alpha", 1.0), g.attr_float(node, "beta", 1.0)
    bias = _bias(node)
    if bias is not None:
        bias = last_axis_vector(bias, kernel.shape[0], 2)
        bias = bias if beta == 1 else bias * bias.dtype.type(beta)
    factor = Factor(kernel if alpha == 1 else kernel * kernel.dtype.type(alpha), bias=bias)
    factor.output_shape(shape)
    return FactorNode(factor, (node,), shape)


def _read_matmul(node: ir.Node, kernel: Array, shape: Shape) -> FactorNode:
    if kernel.ndim != 2 or len(shape) < 2:
        raise NotExactError(f"MatMul of {shape} with a constant of shape {kernel.shape} is no Linear layer")
    factor = Factor(kernel.T)
    factor.output_shape(shape)
    plain = FactorNode(factor, (node,), shape)
    add = g.only_user(node.outputs[0])
    if add is None or add.op_type != "Add" or add.domain not in ("", "ai.onnx"):
        return plain
    array = g.float_constant(add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0])
    try:
        bias = None if array is None else last_axis_vector(array, factor.out_channels, len(shape))
    except NotExactError:
        bias = None
    if bias is None:
        return plain
    return FactorNode(Factor(kernel.T, bias=bias), (node, add), shape)


def last_axis_vector(array: Array, channels: int, rank: int) -> Array:
    """``array``, added to a tensor of ``rank`` axes whose last has ``channels``, as a vector (channels,).

    Raises:
        NotExactError: when it varies along, or broadcasts, another axis.
    """
    if array.ndim > rank or array.size not in (1, channels) or (array.ndim and array.size != array.shape[-1]):
        raise NotExactError(f"a constant of shape {array.shape} is not one number per channel")
    return np.broadcast_to(array.reshape(-1), (channels,))


def with_activation(site: FactorNode, node: ir.Node, activation: str) -> FactorNode:
    """``site`` with the activation node that follows it."""
    return replace(site, factor=replace(site.factor, activation=activation), nodes=(*site.nodes, node))


def write(graph: ir.Graph, names: g.Names, factor: Factor, data: ir.Value, stem: str) -> list[ir.Node]:
    """Nodes that compute ``factor`` on ``data``, not yet inserted; initializers are registered.

    Weights are stored in the element type of ``data``.
    """
    dtype = (data.dtype or ir.DataType.FLOAT).numpy()
    sizes = g.dims(data)
    counted = g.counting_shape(data)
    shape: tuple[int | str | None, ...] | None = None
    if sizes is not None and counted is not None:
        shape = (sizes[0], *factor.output_shape(counted)[1:])
    nodes = list(_linear_nodes(graph, names, factor, data, stem, dtype, shape))
    if factor.activation is not None:
        op, value = _OPS.get(factor.activation, "Clip"), nodes[-1].outputs[0]
        bounds: list[ir.Value] = []
        if factor.activation == "relu6":
            bounds = [
                g.add_initializer(graph, names.fresh(f"{stem}.{key}"), np.asarray(bound, dtype))
                for key, bound in (("min", 0), ("max", 6))
            ]
        name = names.fresh(f"{stem}.{factor.activation}")
        nodes.append(
            g.new_node(
                op, [value, *bounds], name=name, output=names.fresh(f"{name}.out"), like=data, shape=shape
            )
        )
    return nodes


def _linear_nodes(
    graph: ir.Graph,
    names: g.Names,
    factor: Factor,
    data: ir.Value,
    stem: str,
    dtype: np.dtype,
    shape: tuple[int | str | None, ...] | None,
) -> Iterator[ir.Node]:
    """The Conv, the Gemm, or the MatMul and Add of a factor."""

    def weight(key: str, array: Array) -> ir.Value:
        return g.add_initializer(graph, names.fresh(f"{stem}.{key}"), array.astype(dtype, copy=False))

    name, output = names.fresh(stem), names.fresh(f"{stem}.out")
    bias = [] if factor.bias is None else [weight("bias", factor.bias)]
    if factor.spatial_rank:
        inputs = [data, weight("weight", factor.kernel), *bias]
        yield g.new_node(
            "Conv", inputs, _conv_attributes(factor), name=name, output=output, like=data, shape=shape
        )
    elif len(g.dims(data) or ()) == 2:
        inputs = [data, weight("weight", factor.kernel), *bias]
        attributes = [ir.AttrInt64("transB", 1)]
        yield g.new_node("Gemm", inputs, attributes, name=name, output=output, like=data, shape=shape)
    else:
        inputs = [data, weight("weight", factor.kernel.T)]
        matmul = g.new_node("MatMul", inputs, name=name, output=output, like=data, shape=shape)
        yield matmul
        if bias:
            name, output = names.fresh(f"{stem}.add"), names.fresh(f"{stem}.sum")
            inputs = [matmul.outputs[0], *bias]
            yield g.new_node("Add", inputs, name=name, output=output, like=data, shape=shape)


def _conv_attributes(factor: Factor) -> list[ir.Attr]:
    begins, ends = zip(*factor.pads, strict=True)
    return [
        ir.AttrInt64("group", factor.groups),
        ir.AttrInt64s("kernel_shape", factor.kernel_size),
        ir.AttrInt64s("strides", factor.stride),
        ir.AttrInt64s("dilations", factor.dilation),
        ir.AttrInt64s("pads", (*begins, *ends)),
    ]
