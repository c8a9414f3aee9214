"""A per-channel affine map beside a linear layer, folded into its weights.

The map ``A(x) = a*x + c`` (per channel, axis 1) is a BatchNormalization in inference mode
(``a = gamma / sqrt(var + eps)``, ``c = beta - a*mean``) or a Mul, Div, Add or Sub with a constant of one
number per channel or in all: the weights a CP decomposition puts between its factors, for one.

    A after L:   A(W*x + b)   = (a W)*x + (a b + c)       a along C_out; always exact
    A before L:  W*A(x) + b   = (W a)*x + (W*c + b)       a along C_in; exact when c = 0, or L pads nothing:
                                                          padded zeros do not pass through A

L is a Conv (any groups), a ConvTranspose or a Gemm; before a ConvTranspose only with c = 0, since its
outputs near the border get fewer contributions. Arithmetic in float64, stored in the old element type.
Weights that other nodes share are copied, the shared tensor is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tdedge.compose import NotExactError
from tdedge.factor import Array
from tdedge_exporters import graph as g
from tdedge_exporters.factor_nodes import last_axis_vector
from tdedge_exporters.passes.record import NodePass

_LAYERS = ("Conv", "ConvTranspose", "Gemm")
_AFFINE = ("BatchNormalization", "Mul", "Div", "Add", "Sub")


@dataclass(frozen=True)
class _Affine:
    """``scale * x + shift``; each (C,), or (1,) for all channels."""

    data: ir.Value
    scale: Array
    shift: Array

    def over(self, channels: int) -> tuple[Array, Array]:
        """Scale and shift as (C,)."""
        return np.broadcast_to(self.scale, (channels,)), np.broadcast_to(self.shift, (channels,))


class FoldAffinePass(NodePass):
    """Fold BatchNormalization, Mul, Div, Add and Sub by constants into the Conv or Gemm beside them."""

    def rewrite(self, graph: ir.Graph, node: ir.Node) -> str | None:
        """Fold one affine node into the layer before it, else into the one after it."""
        if node.op_type not in _AFFINE:
            return None
        before = _neighbour_before(node)
        follower = g.only_user(node.outputs[0])
        after = follower if follower is not None and follower.op_type in _LAYERS else None
        if before is None and after is None:
            return None
        affine = _read_affine(node)
        if affine is None:
            return None
        if before is not None:
            reason = g.not_a_link(before.outputs[0])
            if reason is None:
                _fold_after(graph, before, node, affine)
                return f"{node.op_type} folded into the {before.op_type} before it"
            if after is None:
                raise NotExactError(f"the {before.op_type} before it must stay: {reason}")
        assert after is not None
        _fold_before(graph, node, after, affine)
        return f"{node.op_type} folded into the {after.op_type} after it"


def _neighbour_before(node: ir.Node) -> ir.Node | None:
    """The layer whose output the affine node maps."""
    for value in node.inputs[:2]:
        producer = None if value is None else value.producer()
        if producer is not None and producer.op_type in _LAYERS:
            return producer
    return None


def _read_affine(node: ir.Node) -> _Affine | None:
    """The map a node applies; None where neither operand is constant.

    Raises:
        NotExactError: where it is no per-channel map.
    """
    if node.op_type == "BatchNormalization":
        return _read_batchnorm(node)
    first, second = node.inputs
    assert first is not None and second is not None
    constants = [g.float_constant(value) for value in (first, second)]
    if all(array is None for array in constants):
        return None
    data, array, swapped = (
        (first, constants[1], False) if constants[1] is not None else (second, constants[0], True)
    )
    assert array is not None
    sizes = g.dims(data) or ()
    if len(sizes) < 2 or not isinstance(sizes[1], int):
        raise NotExactError(f"{data.name!r} has no known channel axis: {sizes}")
    vector = _per_channel(array, sizes[1], len(sizes)).astype(np.float64)
    one, zero = np.ones(1), np.zeros(1)
    match node.op_type, swapped:
        case "Mul", _:
            return _Affine(data, vector, zero)
        case "Add", _:
            return _Affine(data, one, vector)
        case "Sub", False:
            return _Affine(data, one, -vector)
        case "Sub", True:
            return _Affine(data, -one, vector)
        case "Div", False if vector.all():
            return _Affine(data, 1 / vector, zero)
    raise NotExactError("a division by the activation or by zero is no affine map")


def _read_batchnorm(node: ir.Node) -> _Affine:
    data, *values = node.inputs
    arrays = [g.float_constant(value) for value in values]
    used = [value for value in node.outputs[1:] if value.uses() or value.is_graph_output()]
    if g.attr_int(node, "training_mode", 0) or used or any(array is None for array in arrays):
        raise NotExactError("the BatchNormalization is in training mode or its statistics are no constants")
    gamma, beta, mean, variance = (array.astype(np.float64) for array in arrays if array is not None)
    scale = gamma / np.sqrt(variance + g.attr_float(node, "epsilon", 1e-5))
    assert data is not None
    return _Affine(data, scale, beta - scale * mean)


def _per_channel(array: Array, channels: int, rank: int) -> Array:
    """A constant that broadcasts against (N, channels, ...) of ``rank`` axes, as (channels,) or (1,)."""
    shape = (1,) * (rank - array.ndim) + array.shape
    rest = [size for axis, size in enumerate(shape) if axis != 1]
    if len(shape) != rank or any(size != 1 for size in rest) or shape[1] not in (1, channels):
        raise NotExactError(f"a constant of shape {array.shape} is not one number per channel")
    return array.reshape(-1)


@dataclass(frozen=True)
class _Layer:
    """Weights of a Conv, ConvTranspose or Gemm in float64, as (groups, C_out/groups, C_in/groups, taps)."""

    node: ir.Node
    weight: Array
    bias: Array
    stored: Array

    @classmethod
    def read(cls, node: ir.Node) -> _Layer:
        stored = g.float_constant(node.inputs[1])
        if stored is None:
            raise NotExactError(f"the {node.op_type}'s weight is not a constant")
        wide = stored.astype(np.float64)
        groups = g.attr_int(node, "group", 1)
        if node.op_type == "Gemm":
            wide = wide if g.attr_int(node, "transB", 0) else wide.T
            wide = (wide * g.attr_float(node, "alpha", 1.0)).reshape(1, *wide.shape, 1)
        elif node.op_type == "Conv":
            wide = wide.reshape(groups, stored.shape[0] // groups, stored.shape[1], -1)
        else:
            wide = wide.reshape(groups, stored.shape[0] // groups, stored.shape[1], -1).swapaxes(1, 2)
        channels = wide.shape[0] * wide.shape[1]
        value = node.inputs[2] if len(node.inputs) > 2 else None
        if value is None:
            return cls(node, wide, np.zeros(channels), stored)
        bias = g.float_constant(value)
        if bias is None:
            raise NotExactError(f"the {node.op_type}'s bias is not a constant")
        beta = g.attr_float(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0
        return cls(node, wide, beta * last_axis_vector(bias, channels, 2).astype(np.float64), stored)

    @property
    def out_channels(self) -> int:
        return int(self.weight.shape[0] * self.weight.shape[1])

    @property
    def in_channels(self) -> int:
        return int(self.weight.shape[0] * self.weight.shape[2])

    def write(self, graph: ir.Graph, old: list[ir.Node], data: ir.Value, weight: Array, bias: Array) -> None:
        """Replace ``old`` by this layer with other weights, reading ``data``."""
        node, stored = self.node, self.stored
        attributes = dict(node.attributes)
        if node.op_type == "Gemm":
            for key in ("alpha", "beta", "transB"):
                attributes.pop(key, None)
            attributes["transB"] = ir.AttrInt64("transB", 1)
            array = weight[0, :, :, 0]
        else:
            wide = weight.swapaxes(1, 2) if node.op_type == "ConvTranspose" else weight
            array = wide.reshape(stored.shape)
        names = g.Names(graph)
        names.release(node.name)
        stem = g.node_name(node)
        inputs = [data, g.add_initializer(graph, names.fresh(f"{stem}.weight"), array.astype(stored.dtype))]
        if bias.any():
            inputs.append(g.add_initializer(graph, names.fresh(f"{stem}.bias"), bias.astype(stored.dtype)))
        output = old[-1].outputs[0]
        new = g.new_node(
            node.op_type,
            inputs,
            list(attributes.values()),
            name=names.fresh(stem),
            output=names.fresh(f"{stem}.out"),
            like=output,
            shape=g.dims(output),
        )
        g.replace(old, [new], output)


def _fold_after(graph: ir.Graph, node: ir.Node, affine_node: ir.Node, affine: _Affine) -> None:
    layer = _Layer.read(node)
    scale, shift = affine.over(layer.out_channels)
    weight = layer.weight * scale.reshape(layer.weight.shape[0], -1, 1, 1)
    data = node.inputs[0]
    assert data is not None
    layer.write(graph, [node, affine_node], data, weight, layer.bias * scale + shift)


def _fold_before(graph: ir.Graph, affine_node: ir.Node, node: ir.Node, affine: _Affine) -> None:
    if node.inputs[0] is not affine_node.outputs[0]:
        raise NotExactError(f"it gives the {node.op_type}'s weights, not its input")
    if node.op_type == "Gemm" and g.attr_int(node, "transA", 0):
        raise NotExactError("the Gemm transposes its input")
    layer = _Layer.read(node)
    scale, shift = affine.over(layer.in_channels)
    if shift.any() and node.op_type == "ConvTranspose":
        raise NotExactError("its shift reaches the borders of the ConvTranspose's output in part only")
    padded = any(g.attr_ints(node, "pads", ())) or g.attr_string(node, "auto_pad", "NOTSET").startswith(
        "SAME"
    )
    if shift.any() and padded:
        raise NotExactError("its shift would leak through the Conv's zero padding")
    groups = layer.weight.shape[0]
    weight = layer.weight * scale.reshape(groups, 1, -1, 1)
    moved = np.einsum("goit,gi->go", layer.weight, shift.reshape(groups, -1)).reshape(-1)
    layer.write(graph, [affine_node, node], affine.data, weight, layer.bias + moved)
