"""A float32 program and grids in, a program of 8-bit integers out.

Activations are int8 (the same grid as the network's unsigned one, its zero point 128 lower), weights int8
with a scale per output channel, biases int32 on the grid of the products. What XNNPACK has on integers is
done on integers; an operator it lacks, or one that reads or gives a tensor without a grid, stays float32
between ``DEQUANTIZE`` and ``QUANTIZE``, inside the same partition, and a note says which and why.

* An average pooling, which XNNPACK lacks on integers, is a ``DEPTHWISE_CONV_2D`` with equal weights.
* The larger of two tensors, which it lacks too, is a ``MAX_POOL_2D`` over both, joined.
* An activation that no operator could take in is the ``QUANTIZE`` to its result's grid where that cuts off
  the same numbers, else a product with 1 that takes it in.

Source: TensorFlow Lite 8-bit quantization specification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.quantize.grids import Grid, Grids, WeightGrid
from tdedge_exporters.tflite.conversions import CONVERSIONS, INT8, OFFSET, Conversions, Held
from tdedge_exporters.tflite.order import Shape
from tdedge_exporters.tflite.peephole import ACTIVATIONS
from tdedge_exporters.tflite.program import Array, Op, Program, Scales, Tensor
from tdedge_exporters.tflite.spread import CUTS, MOVES, is_real, operands, spread
from tdedge_exporters.tflite.versions import int8_version
from tdedge_exporters.tflite.weights import axis_of, dequantised
from tdedge_exporters.tflite.window import Axis, is_valid

_INT32 = np.dtype(np.int32)
_LARGEST_BIAS = 2.0**31 - 1
#: Grids that functions of a fixed range give.
_FIXED = {"LOGISTIC": Grid(1 / 256, 0), "TANH": Grid(1 / 128, 128)}
#: Ratios of scales that XNNPACK's kernels take: [least, most).
_SUMS, _PRODUCTS, _CONVOLUTIONS = (2.0**-10, 2.0**8), (2.0**-16, 2.0**8), (2.0**-32, 2.0**8)
#: Names listed in one note.
_MOST_NAMES = 8
#: Why an operator stays float32.
_NO_FORM = "XNNPACK has no integer form of them"
_NO_RANGE = "nothing is known of the range of what they read or give"
_NO_WEIGHTS = "their weights are not on a grid"
_FAR = "the scales of what they read and give are too far apart"


class _Stays(Exception):
    """An operator stays float32; the text says why."""


def quantise(
    program: Program, holds: Held, sources: Mapping[Tensor, Tensor], grids: Grids, *, integer_io: bool
) -> None:
    """Make a program one of integers, in place.

    Args:
        program: of float32 tensors, weights on their grids.
        holds: tensor -> the network's value it holds; gets the tensors of integers.
        sources: view -> the tensor it is a reshape of.
        grids: of the network's values and weights.
        integer_io: inputs and outputs that have grids are integers, instead of float32 numbers that the
            file converts.
    """
    known = spread(program, holds, sources, grids.activations)
    _Integers(program, holds, known, grids, integer_io=integer_io).run()


class _Integers(Conversions):
    def __init__(
        self, program: Program, holds: Held, known: dict[Tensor, Grid], grids: Grids, *, integer_io: bool
    ) -> None:
        super().__init__(holds, known, set() if integer_io else {tensor for _, tensor in program.outputs})
        self.program, self.grids, self.integer_io = program, grids, integer_io
        self.widened: dict[Tensor, Tensor] = {}
        self.stays: dict[str, list[str]] = {}
        self.forms: dict[str, Callable[[Op], None]] = {
            **dict.fromkeys(MOVES, self._move),
            **dict.fromkeys(CUTS, self._cut),
            **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), self._product),
            **dict.fromkeys(("ADD", "SUB", "MUL"), self._arithmetic),
            **dict.fromkeys(("ELU", "LEAKY_RELU", "LOGISTIC", "TANH"), self._curve),
            "AVERAGE_POOL_2D": self._average,
            "MAXIMUM": self._greatest,
            "MEAN": self._mean,
        }

    def run(self) -> None:
        program = self.program
        if self.integer_io:
            program.inputs = [(name, self._input(tensor)) for name, tensor in program.inputs]
        for op in program.ops:
            self._lower(op)
        if self.integer_io:
            for index, (name, tensor) in enumerate(program.outputs):
                program.outputs[index] = name, self._output(tensor)
        program.ops = self.ops
        ends = [(name, tensor) for name, tensor in (*program.inputs, *program.outputs) if is_real(tensor)]
        if self.integer_io and ends:
            listed = ", ".join(repr(name) for name, _ in ends)
            program.notes.append(f"{listed} stay float32: nothing is known of their range")
        for why, names in self.stays.items():
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            listed = ", ".join(names[:_MOST_NAMES])
            program.notes.append(f"operators stay float32 because {why}: {listed}{more}")

    def _input(self, tensor: Tensor) -> Tensor:
        if tensor not in self.known:
            return tensor
        made = self.new(tensor.name, tensor.shape, self.known[tensor])
        self.give(tensor, made)
        return made

    def _output(self, tensor: Tensor) -> Tensor:
        """The integers of an output, a tensor of their own."""
        if tensor not in self.known or not is_real(tensor):
            return tensor
        grid = self.known[tensor]
        made = self.as_whole(tensor, grid)
        if made in [other for _, other in (*self.program.inputs, *self.program.outputs)]:
            return self._reshaped(tensor.name, made, tensor.shape, grid)
        return made

    def _reshaped(self, name: str, source: Tensor, sizes: Shape, grid: Grid) -> Tensor:
        """The same integers in another shape."""
        options = schema.ReshapeOptionsT()
        options.newShape = list(sizes)
        shape = Tensor("shape", (len(sizes),), _INT32, np.array(sizes, np.int32))
        made = self.new(name, sizes, grid)
        self.ops.append(Op("RESHAPE", [source, shape], [made], options))
        return made

    # One operator

    def _lower(self, op: Op) -> None:
        if not any(is_real(tensor) for tensor in (*op.inputs, *op.outputs)):
            self.ops.append(op)
            return
        form = self.forms.get(op.code)
        try:
            if form is None:
                raise _Stays(_NO_FORM)
            form(op)
        except _Stays as stays:
            self._keep(op, str(stays))

    def _keep(self, op: Op, why: str) -> None:
        """The operator on float32 numbers."""
        self.stays.setdefault(why, []).append(f"{op.code} {op.outputs[0].name!r}")
        axis = axis_of(op)
        inputs: list[Tensor | None] = []
        for index, tensor in enumerate(op.inputs):
            scales = (
                None if tensor is None or index != 1 or axis is None else self._weight_scales(tensor, axis)
            )
            if tensor is not None and axis is not None and scales is not None:
                inputs.append(self._widened(tensor, WeightGrid(scales, axis)))
            else:
                inputs.append(tensor if tensor is None else self.as_real(tensor))
        self.ops.append(Op(op.code, inputs, op.outputs, op.options, op.version))

    def _widened(self, weight: Tensor, grid: WeightGrid) -> Tensor:
        """A weight on a grid, stored as integers for an operator on float32 numbers."""
        if weight not in self.widened:
            made = dequantised(weight, grid)
            self.ops.append(made)
            self.widened[weight] = made.outputs[0]
        return self.widened[weight]

    def _move(self, op: Op) -> None:
        data = operands(op)
        if not data:
            raise _Stays(_NO_FORM)
        result = op.outputs[0]
        read, given = {self._grid(tensor) for tensor in data}, self._grid(result)
        grid = read.pop() if len(read) == 1 else given
        inputs = [t if t is None or not is_real(t) else self.as_whole(t, grid) for t in op.inputs]
        self.emit(op.code, inputs, op.options, result, grid)

    def _greatest(self, op: Op) -> None:
        """The larger of two computed tensors (.., C): joined as (1, 2, .., C), over the window (2, 1)."""
        data, result = operands(op), op.outputs[0]
        if len(data) == 1:
            self._cut(op)
            return
        if len(data) != 2 or {tensor.shape for tensor in data} != {result.shape}:
            raise _Stays(_NO_FORM)
        channels = result.shape[-1] if result.shape else 1
        row = (1, 1, prod(result.shape) // channels, channels)
        grid = self._grid(result)
        rows: list[Tensor | None] = [
            self._reshaped(f"{tensor.name}/row", self.as_whole(tensor, grid), row, grid) for tensor in data
        ]
        join = schema.ConcatenationOptionsT()
        join.axis = 1
        joined = self.new(f"{result.name}/joined", (1, 2, *row[2:]), grid)
        self.ops.append(Op("CONCATENATION", rows, [joined], join))
        pool = schema.Pool2DOptionsT()
        pool.padding = schema.Padding.VALID
        pool.filterHeight = pool.strideH = 2
        pool.filterWidth = pool.strideW = 1
        larger = self.new(f"{result.name}/larger", row, grid)
        self.ops.append(Op("MAX_POOL_2D", [joined], [larger], pool))
        for made in self.ops[-2:]:
            made.version = int8_version(made)
        self.give(result, self._reshaped(f"{result.name}/whole", larger, result.shape, grid))

    def _cut(self, op: Op) -> None:
        """An activation or a bound by itself: where its result's grid ends, else inside a product with 1."""
        data, result = operands(op), op.outputs[0]
        if len(data) != 1:
            raise _Stays(_NO_FORM)
        before, after = self._grid(data[0]), self._grid(result)
        low, high = _bounds(op)
        half = after.scale / 2
        if after.low >= low - half and after.high <= high + half:
            self.give(result, self.as_whole(data[0], after))
            return
        if op.code not in ACTIVATIONS:
            raise _Stays(_NO_FORM)
        options = schema.MulOptionsT()
        options.fusedActivationFunction = ACTIVATIONS[op.code]
        self._require((before.scale / after.scale,), _PRODUCTS)
        one = self.new("one", (), Grid(1.0, 0))
        one.data = np.array(1 - OFFSET, np.int8)
        self.emit("MUL", [self.as_whole(data[0], before), one], options, result, after)

    def _product(self, op: Op) -> None:
        data, weight, bias = (*op.inputs, None)[:3]
        result, axis = op.outputs[0], axis_of(op)
        assert data is not None and weight is not None and axis is not None
        scales = self._weight_scales(weight, axis)
        if scales is None or weight.data is None or (bias is not None and bias.data is None):
            raise _Stays(_NO_WEIGHTS)
        before, after = self._grid(data), self._grid(result)
        self._require(before.scale * scales.astype(np.float64) / after.scale, _CONVOLUTIONS)
        grid = WeightGrid(scales, axis)
        stored = Tensor(weight.name, weight.shape, INT8, grid.quantise(weight.data))
        stored.scales = Scales(scales, axis=axis)
        offset = self._bias(result, bias, before.scale * scales.astype(np.float64))
        self.emit(op.code, [self.as_whole(data, before), stored, offset], op.options, result, after)

    @staticmethod
    def _bias(result: Tensor, bias: Tensor | None, scales: Array) -> Tensor:
        real = np.zeros(len(scales)) if bias is None or bias.data is None else bias.data.astype(np.float64)
        whole = np.clip(np.rint(real / scales), -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32)
        name = bias.name if bias is not None else f"{result.name}/bias"
        return Tensor(name, whole.shape, _INT32, whole, scales=Scales(scales.astype(np.float32)))

    def _weight_scales(self, weight: Tensor, axis: int) -> Array | None:
        """Scales of the output channels, a channel of zeros having the largest; None without a grid."""
        grid = self.grids.weights.get(weight.origin)
        if grid is None or weight.data is None or len(grid.scales) != weight.shape[axis]:
            return None
        scales = grid.scales
        others = tuple(at for at in range(weight.data.ndim) if at != axis)
        return np.where(np.any(weight.data, axis=others), scales, scales.max()).astype(np.float32)

    def _average(self, op: Op) -> None:
        """The mean of a window as a convolution of every channel with equal weights."""
        (data,), result, how = operands(op), op.outputs[0], op.options
        before, after = self._grid(data), self._grid(result)
        taps = how.filterHeight * how.filterWidth
        windows = (how.filterHeight, how.strideH), (how.filterWidth, how.strideW)
        axes = [
            Axis(size, window, stride, 1, (0, 0), out)
            for size, (window, stride), out in zip(data.shape[1:3], windows, result.shape[1:3], strict=True)
        ]
        if not is_valid(*axes):
            raise _Stays(_NO_FORM)
        self._require((before.scale / taps / after.scale,), _CONVOLUTIONS)
        channels = data.shape[3]
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.depthMultiplier = schema.Padding.VALID, 1
        options.strideH, options.strideW = how.strideH, how.strideW
        options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = how.fusedActivationFunction
        scales = np.full(channels, 1 / taps, np.float32)
        ones = np.ones((1, how.filterHeight, how.filterWidth, channels), np.int8)
        weight = Tensor("average", ones.shape, INT8, ones, scales=Scales(scales, axis=3))
        bias = self._bias(result, None, before.scale * scales.astype(np.float64))
        inputs: list[Tensor | None] = [self.as_whole(data, before), weight, bias]
        self.emit("DEPTHWISE_CONV_2D", inputs, options, result, after)

    def _mean(self, op: Op) -> None:
        (data,), result = operands(op), op.outputs[0]
        before, after = self._grid(data), self._grid(result)
        self._require((before.scale / after.scale,), CONVERSIONS)
        inputs = [self.as_whole(data, before), *op.inputs[1:]]
        self.emit(op.code, inputs, op.options, result, after)

    def _arithmetic(self, op: Op) -> None:
        result = op.outputs[0]
        after = self._grid(result)
        computed = [self._grid(tensor) for tensor in operands(op)]
        if not computed:
            raise _Stays(_NO_FORM)
        least = after.scale * _SUMS[0] if op.code != "MUL" else after.scale * _PRODUCTS[0] / computed[0].scale
        grids = [self._operand(tensor, 2 * least) for tensor in op.inputs if tensor is not None]
        if op.code == "MUL":
            self._require((grids[0].scale * grids[1].scale / after.scale,), _PRODUCTS)
        else:
            self._require([grid.scale / after.scale for grid in grids], _SUMS)
        pairs = zip(op.inputs, grids, strict=True)
        inputs: list[Tensor | None] = [self.as_whole(t, grid) for t, grid in pairs if t is not None]
        self.emit(op.code, inputs, op.options, result, after)

    def _operand(self, tensor: Tensor, least: float) -> Grid:
        """The grid of a computed operand, or of a constant one: its own, no finer than ``least``."""
        if tensor.data is None:
            return self._grid(tensor)
        grid = self.grids.activations.get(tensor.origin)
        if grid is None:
            grid = Grid.of_range(float(tensor.data.min(initial=0)), float(tensor.data.max(initial=0)))
        return grid if grid.scale >= least else Grid(float(np.float32(least)), grid.zero_point)

    def _curve(self, op: Op) -> None:
        (data,), result = operands(op), op.outputs[0]
        before, after = self._grid(data), self._grid(result)
        given = _FIXED.get(op.code, after)
        if op.code == "LEAKY_RELU":
            ratio = before.scale / given.scale
            self._require((ratio, abs(ratio * op.options.alpha)), CONVERSIONS)
        self.emit(op.code, [self.as_whole(data, before)], op.options, result, given)

    def _grid(self, tensor: Tensor) -> Grid:
        if tensor not in self.known:
            raise _Stays(_NO_RANGE)
        return self.known[tensor]

    @staticmethod
    def _require(ratios: Array | Sequence[float], limits: tuple[float, float]) -> None:
        array = np.asarray(ratios, np.float64)
        if (array < limits[0]).any() or (array >= limits[1]).any():
            raise _Stays(_FAR)


def _bounds(op: Op) -> tuple[float, float]:
    """The range a cut leaves."""
    if op.code in ("MAXIMUM", "MINIMUM"):
        (bound,) = (t.data for t in op.inputs if t is not None and t.data is not None)
        number = float(bound.max() if op.code == "MAXIMUM" else bound.min())
        return (number, np.inf) if op.code == "MAXIMUM" else (-np.inf, number)
    return {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}[op.code]
