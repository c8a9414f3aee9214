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

_PARTS = ("QuantizeLinear", "DequantizeLinear")


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

    def _reads_integers(self, node: ir.Node | None) -> bool:
        """True for an operator on the integers themselves, all that it reads and gives on one grid."""
        if node is None or node.op_type not in WHOLE:
            return False
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        grids = {self.on_grid.get(value) or self.grids.activations.get(value.name or "") for value in values}
        return len(grids) == 1 and None not in grids and all(value in self.whole for value in node.inputs)

    def _pair(self, value: ir.Value, after: ir.Node | None) -> None:
        """A pair in the place of ``value``; behind integers ``DequantizeLinear`` alone."""
        grid = self.grids.activations[value.name or ""]
        name = str(value.name)
        scale, zero = self._scalar(grid)
        shape = g.dims(value)
        made_whole = after is not None and self._reads_integers(after)
        quantise = ir.Node(
            "", "QuantizeLinear", [value, scale, zero], name=self.names.fresh(f"{name}/quantize")
        )
        whole = quantise.outputs[0]
        if made_whole and after is not None:
            for index, read in enumerate(after.inputs):
                after.replace_input_with(index, self.whole[read] if read is not None else None)
            quantise.replace_input_with(0, None)
            whole = value
        whole.name = self.names.fresh(f"{name}/q")
        floats, whole.type = value.type, ir.TensorType(ir.DataType.UINT8)
        back = ir.Node(
            "", "DequantizeLinear", [whole, scale, zero], name=self.names.fresh(f"{name}/dequantize")
        )
        real = back.outputs[0]
        real.type = floats if made_whole else value.type
        for made in (whole, real):
            made.shape = None if shape is None else ir.Shape(shape)
        self.on_grid[real] = grid
        self.whole[real] = whole
        for node, index in list(value.uses()):
            if node is not quantise and node is not back:
                node.replace_input_with(index, real)
        if value.is_graph_output():
            for index, output in enumerate(self.graph.outputs):
                if output is value:
                    self.graph.outputs[index] = real
            real.name = name
            if not made_whole:
                value.name = self.names.fresh(f"{name}/float")
        else:
            real.name = self.names.fresh(f"{name}/dq")
        if after is not None:
            self.graph.insert_after(after, [back] if made_whole else [quantise, back])
        elif (first := next(iter(self.graph), None)) is not None:
            self.graph.insert_before(first, [quantise, back])

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
        grid = self.grids.weights.get(weight.name or "") if weight is not None else None
        if weight is None or grid is None or weight_axis(node) is None:
            return
        array = g.float_constant(weight)
        assert array is not None
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

    def _bias(self, node: ir.Node, bias: ir.Value, scales: Array) -> None:
        array = g.float_constant(bias)
        assert array is not None
        limit = 2.0**31 - 1
        whole = np.clip(np.rint(array.astype(np.float64).ravel() / scales), -limit, limit).astype(np.int32)
        constant = self._constant("bias_scales", scales.astype(np.float32))
        zeros = self._constant("bias_zeros", np.zeros(len(scales), np.int32))
        node.replace_input_with(2, self._stored(node, bias, whole, constant, zeros, 0))

    def _stored(
        self, node: ir.Node, value: ir.Value, array: Array, scales: ir.Value, zeros: ir.Value, axis: int
    ) -> ir.Value:
        stored = g.add_initializer(self.graph, self.names.fresh(f"{value.name}/q"), array)
        back = ir.Node(
            "",
            "DequantizeLinear",
            [stored, scales, zeros],
            [ir.AttrInt64("axis", axis)],
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
                scale, zero = self._scalar(grid)
                stored = g.add_initializer(
                    self.graph, self.names.fresh(f"{value.name}/q"), grid.quantise(array)
                )
                back = ir.Node(
                    "",
                    "DequantizeLinear",
                    [stored, scale, zero],
                    name=self.names.fresh(f"{value.name}/dequantize"),
                )
                real = back.outputs[0]
                real.name, real.type, real.shape = (
                    self.names.fresh(f"{value.name}/dq"),
                    value.type,
                    value.shape,
                )
                self.graph.insert_before(node, back)
                self.weights[value] = real
            node.replace_input_with(index, self.weights[value])
            g.drop_unused(self.graph, [value])


def _strip(graph: ir.Graph) -> Grids:
    grids = Grids()
    for node in list(graph):
        if node.op_type != "DequantizeLinear":
            continue
        source, scale, zero = (*node.inputs, None)[:3]
        assert source is not None
        maker = source.producer()
        scales, zeros = g.constant(scale), g.constant(zero)
        assert scales is not None
        result = node.outputs[0]
        if maker is not None:
            _strip_pair(graph, maker, node, grids)
            continue
        array = g.constant(source)
        assert array is not None
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
        value = g.add_initializer(graph, name, real)
        ir.convenience.replace_all_uses_with(result, value)
        graph.remove(node, safe=True)
        g.drop_unused(graph, [source, *(each for each in (scale, zero) if each is not None)])
    for key, text in list(graph.metadata_props.items()):
        if key.startswith(EDGES):
            scale_text, zero_text = text.split()
            name = key.removeprefix(EDGES)
            grids.activations[name] = Grid(float(scale_text), int(zero_text))
            grids.edges.add(name)
            del graph.metadata_props[key]
    return grids


def _strip_pair(graph: ir.Graph, maker: ir.Node, back: ir.Node, grids: Grids) -> None:
    """Take out what stands behind a value: a pair, or what makes numbers of an operator's integers."""
    source, scale, zero = back.inputs[:3]
    result = back.outputs[0]
    is_pair = maker.op_type == "QuantizeLinear"
    value = maker.inputs[0] if is_pair else source
    assert value is not None and source is not None
    scales, zeros = g.constant(scale), g.constant(zero)
    assert scales is not None and zeros is not None
    name = str(value.name) if is_pair else str(value.name).removesuffix("/q")
    if result.is_graph_output():
        name = str(result.name)
        for index, output in enumerate(graph.outputs):
            if output is result:
                graph.outputs[index] = value
    result.name = None
    value.name, value.type = name, result.type
    ir.convenience.replace_all_uses_with(result, value)
    if is_pair and source is not value:
        ir.convenience.replace_all_uses_with(
            source, value
        )  # operators on the integers, and other pairs' ends
    grids.activations[name] = Grid(float(scales), int(zeros))
    graph.remove([back, maker] if is_pair else back, safe=True)
    g.drop_unused(graph, [each for each in (scale, zero) if each is not None])
