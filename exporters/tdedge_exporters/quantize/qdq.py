"""Grids into a graph and out again: ``QuantizeLinear`` and ``DequantizeLinear`` pairs.

``insert`` puts a pair behind every quantised activation, stores weights as 8-bit and biases as 32-bit
integers, each behind a ``DequantizeLinear``. Operators that only move or compare numbers, but that runtimes
would compute in float32 between two pairs, work on the integers themselves. ``strip`` takes all of it out
again and gives the float32 graph, its weights on their grids, and the grids. A float32 output that has a
grid all the same carries it as metadata.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.quantize.grids import Array, Grid, Grids, WeightGrid
from tdedge_exporters.quantize.scheme import WHOLE, weight_axis

#: Metadata key of a graph: names, scales and zero points of its float32 outputs that have a grid.
EDGES = "tdedge.grid."


def insert(model: ir.Model, grids: Grids) -> ir.Model:
    """A quantised copy of ``model``."""
    copy = model.clone()
    _Insertion(copy.graph, grids).run()
    return copy


def strip(model: ir.Model) -> tuple[ir.Model, Grids]:
    """A float32 copy of a quantised model, its weights and biases on their grids, and the grids."""
    copy = model.clone()
    return copy, _strip(copy.graph)


class _Insertion:
    def __init__(self, graph: ir.Graph, grids: Grids) -> None:
        self.graph, self.grids = graph, grids
        self.names = g.Names(graph)
        self.scalars: dict[tuple[float, int], tuple[ir.Value, ir.Value]] = {}
        self.weights: dict[ir.Value, ir.Value] = {}
        self.on_grid: dict[ir.Value, Grid] = {}
        self.whole: dict[ir.Value, ir.Value] = {}

    def run(self) -> None:
        nodes = list(self.graph)
        for value in list(self.graph.inputs):
            if value.name in self.grids.activations:
                self._pair(value, None)
        for node in nodes:
            self._weights(node)
            self._constants(node)
            for value in node.outputs:
                name = value.name or ""
                if name in self.grids.edges:
                    grid = self.grids.activations[name]
                    self.graph.metadata_props[EDGES + name] = f"{grid.scale!r} {grid.zero_point}"
                elif name in self.grids.activations:
                    self._pair(value, node)
            self._keep(node)
        self._drop_unread()

    def _pair(self, value: ir.Value, after: ir.Node | None) -> None:
        """``QuantizeLinear`` and ``DequantizeLinear`` behind ``value``; the latter alone behind integers."""
        grid = self.grids.activations[value.name or ""]
        name = str(value.name)
        made: list[ir.Node] = []
        if after is not None and self._is_whole(after, grid):
            self._to_integers(after, grid)
            whole, floats = value, value.type
        else:
            stem = self.names.fresh(f"{name}/quantize")
            made.append(ir.Node("", "QuantizeLinear", [value, *self._scalar(grid)], name=stem))
            whole, floats = made[0].outputs[0], value.type
        stem = self.names.fresh(f"{name}/dequantize")
        back = ir.Node("", "DequantizeLinear", [whole, *self._scalar(grid)], name=stem)
        real = back.outputs[0]
        made.append(back)
        for node, index in list(value.uses()):
            if node not in made:
                node.replace_input_with(index, real)
        is_output = value.is_graph_output()
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = real
        if is_output:
            value.name = self.names.fresh(f"{name}/float")
        whole.name, real.name = (
            self.names.fresh(f"{name}/q"),
            name if is_output else self.names.fresh(f"{name}/dq"),
        )
        whole.type, real.type = ir.TensorType(ir.DataType.UINT8), floats
        whole.shape = real.shape = value.shape
        self.on_grid[real], self.whole[real] = grid, whole
        if after is not None:
            self.graph.insert_after(after, made)
        elif (first := next(iter(self.graph), None)) is not None:
            self.graph.insert_before(first, made)

    def _is_whole(self, node: ir.Node, grid: Grid) -> bool:
        """True for an operator on the integers themselves, all that it reads on the grid of what it gives."""
        if node.op_type not in WHOLE or len(node.outputs) > 1:
            return False
        data = node.inputs[:1] if node.op_type == "Pad" else node.inputs
        return all(value is not None and self.on_grid.get(value) == grid for value in data)

    def _to_integers(self, node: ir.Node, grid: Grid) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and value in self.whole:
                node.replace_input_with(index, self.whole[value])
        if node.op_type == "Pad":
            if len(node.inputs) < 3:
                node.resize_inputs(3)
            node.replace_input_with(2, self._scalar(grid)[1])

    def _drop_unread(self) -> None:
        """Nobody makes numbers of integers that operators on integers alone read."""
        for node in list(self.graph):
            if node.op_type == "DequantizeLinear" and not (
                node.outputs[0].uses() or node.outputs[0].is_graph_output()
            ):
                self.graph.remove(node, safe=True)

    def _scalar(self, grid: Grid) -> tuple[ir.Value, ir.Value]:
        key = grid.scale, grid.zero_point
        if key not in self.scalars:
            self.scalars[key] = (
                self._constant("scale", np.array(grid.scale, np.float32)),
                self._constant("zero_point", np.array(grid.zero_point, np.uint8)),
            )
        return self.scalars[key]

    def _constant(self, stem: str, array: Array) -> ir.Value:
        return g.add_initializer(self.graph, self.names.fresh(f"grid.{stem}"), array)

    def _weights(self, node: ir.Node) -> None:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        axis = weight_axis(node)
        if weight is None or axis is None:
            return
        array = g.float_constant(weight)
        assert array is not None
        grid = self.grids.weights.get(weight.name or "")
        if grid is None:
            return
        if weight not in self.weights:
            scales = self._constant("scales", grid.scales)
            zeros = self._constant("zeros", np.zeros(len(grid.scales), np.int8))
            self.weights[weight] = self._stored(node, weight, grid.quantise(array), scales, zeros, grid.axis)
        node.replace_input_with(1, self.weights[weight])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        read = self.on_grid.get(node.inputs[0]) if node.inputs[0] is not None else None
        if bias is not None and read is not None:
            self._bias(node, bias, read.scale * grid.scales.astype(np.float64))
        g.drop_unused(self.graph, [weight, *([bias] if bias is not None else [])])

    def _keep(self, node: ir.Node) -> None:
        """A product that stays float32 behind a grid: an activation that does nothing follows it.

        ONNX Runtime would round its weight to 8 bits by itself where another grid, or a ReLU and then that,
        follows at once.
        """
        is_kept = weight_axis(node) is not None and node.inputs[1] not in self.weights.values()
        result = node.outputs[0]
        readers = list(result.uses())
        if not (is_kept and readers and node.inputs[0] in self.on_grid) or result.is_graph_output():
            return
        stem = self.names.fresh(f"{result.name}/kept")
        same = ir.Node("", "LeakyRelu", [result], [ir.AttrFloat32("alpha", 1.0)], name=stem)
        same.outputs[0].name, same.outputs[0].type, same.outputs[0].shape = stem, result.type, result.shape
        for reader, at in readers:
            reader.replace_input_with(at, same.outputs[0])
        self.graph.insert_after(node, same)

    def _bias(self, node: ir.Node, bias: ir.Value, scales: Array) -> None:
        array = g.float_constant(bias)
        assert array is not None
        limit = 2.0**31 - 1
        whole = np.clip(np.rint(array.astype(np.float64).ravel() / scales), -limit, limit).astype(np.int32)
        constant = self._constant("bias_scales", scales.astype(np.float32))
        zeros = self._constant("bias_zeros", np.zeros(len(scales), np.int32))
        node.replace_input_with(2, self._stored(node, bias, whole, constant, zeros, 0))

    def _stored(
        self,
        node: ir.Node,
        value: ir.Value,
        array: Array,
        scales: ir.Value,
        zeros: ir.Value,
        axis: int | None = None,
    ) -> ir.Value:
        """A constant that ``node`` reads, stored as integers; ``axis`` where scales are per channel."""
        stored = g.add_initializer(self.graph, self.names.fresh(f"{value.name}/q"), array)
        back = ir.Node(
            "",
            "DequantizeLinear",
            [stored, scales, zeros],
            [] if axis is None else [ir.AttrInt64("axis", axis)],
            name=self.names.fresh(f"{value.name}/dequantize"),
        )
        real = back.outputs[0]
        real.name, real.type = self.names.fresh(f"{value.name}/dq"), value.type
        real.shape = ir.Shape(array.shape)
        self.graph.insert_before(node, back)
        return real

    def _constants(self, node: ir.Node) -> None:
        """Constants that are joined, added or multiplied with integers."""
        for index, value in enumerate(node.inputs):
            if value is None or value.name not in self.grids.activations:
                continue
            array = g.float_constant(value)
            if array is None:
                continue
            if value not in self.weights:
                grid = self.grids.activations[value.name or ""]
                self.weights[value] = self._stored(node, value, grid.quantise(array), *self._scalar(grid))
            node.replace_input_with(index, self.weights[value])
            g.drop_unused(self.graph, [value])


def _strip(graph: ir.Graph) -> Grids:
    grids = Grids()
    for node in list(graph):
        if node.op_type == "DequantizeLinear":
            source = node.inputs[0]
            assert source is not None
            if source.producer() is None:
                _strip_constant(graph, node, source, grids)
            else:
                _strip_numbers(graph, node, source)
    for node in list(graph):
        if node.op_type == "QuantizeLinear":
            _strip_integers(graph, node, grids)
        elif node.op_type == "LeakyRelu" and g.attr_float(node, "alpha", 0.01) == 1.0:
            _strip_kept(graph, node)
        elif node.outputs and node.outputs[0].dtype == ir.DataType.UINT8:
            _to_reals(graph, node, grids)
    for key, text in list(graph.metadata_props.items()):
        if key.startswith(EDGES):
            scale_text, zero_text = text.split()
            name = key.removeprefix(EDGES)
            grids.activations[name] = Grid(float(scale_text), int(zero_text))
            grids.edges.add(name)
            del graph.metadata_props[key]
    return grids


def _strip_constant(graph: ir.Graph, node: ir.Node, source: ir.Value, grids: Grids) -> None:
    """A stored weight, bias or joined constant as float32 numbers."""
    array, scales, zeros = (g.constant(value) for value in (*node.inputs, None)[:3])
    assert array is not None and scales is not None
    axis = g.attr_int(node, "axis", 1)
    shape = [-1 if scales.ndim and each == axis else 1 for each in range(array.ndim)]
    offset = 0 if zeros is None else zeros.astype(np.float64).reshape(shape if zeros.ndim else [])
    spread = scales.astype(np.float64).reshape(shape if scales.ndim else [])
    real = ((array.astype(np.float64) - offset) * spread).astype(np.float32)
    name = g.Names(graph).fresh(str(source.name).removesuffix("/q"))
    if array.dtype == np.int8 and scales.ndim:
        grids.weights[name] = WeightGrid(scales.astype(np.float32), axis)
    elif array.dtype == np.uint8 and zeros is not None:
        grids.activations[name] = Grid(float(scales), int(zeros))
    ir.convenience.replace_all_uses_with(node.outputs[0], g.add_initializer(graph, name, real))
    _remove(graph, node)


def _strip_numbers(graph: ir.Graph, node: ir.Node, source: ir.Value) -> None:
    """What makes numbers of computed integers: its readers read what the integers were made of."""
    result, maker = node.outputs[0], source.producer()
    value = maker.inputs[0] if maker is not None and maker.op_type == "QuantizeLinear" else source
    assert value is not None
    name = result.name if result.is_graph_output() else None
    for index, output in enumerate(graph.outputs):
        if output is result:
            graph.outputs[index] = value
    ir.convenience.replace_all_uses_with(result, value)
    _remove(graph, node)
    if name is not None:
        value.name = name


def _strip_integers(graph: ir.Graph, node: ir.Node, grids: Grids) -> None:
    value, scale, zero = node.inputs[:3]
    scales, zeros = g.constant(scale), g.constant(zero)
    assert value is not None and scales is not None and zeros is not None
    grids.activations[str(value.name)] = Grid(float(scales), int(zeros))
    ir.convenience.replace_all_uses_with(node.outputs[0], value)
    _remove(graph, node)


def _to_reals(graph: ir.Graph, node: ir.Node, grids: Grids) -> None:
    """An operator on integers as the one on numbers it stands for; its result has the grid of its input."""
    data, result = node.inputs[0], node.outputs[0]
    assert data is not None
    result.name = str(result.name).removesuffix("/q")
    result.type = data.type
    grids.activations[result.name] = grids.activations[str(data.name)]
    if node.op_type == "Pad":
        filler = node.inputs[2]
        node.replace_input_with(2, None)
        g.drop_unused(graph, [filler] if filler is not None else [])


def _strip_kept(graph: ir.Graph, node: ir.Node) -> None:
    """What keeps a product in float32 does nothing else."""
    data = node.inputs[0]
    assert data is not None
    ir.convenience.replace_all_uses_with(node.outputs[0], data)
    _remove(graph, node)


def _remove(graph: ir.Graph, node: ir.Node) -> None:
    inputs = [value for value in node.inputs if value is not None]
    graph.remove(node, safe=True)
    g.drop_unused(graph, inputs)
