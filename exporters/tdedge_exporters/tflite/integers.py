"""A float32 program and grids in, a program of 8-bit integers out.

Activations are int8 (the same grid as the network's unsigned one, its zero point 128 lower), weights int8
with a scale per output channel, biases int32 on the grid of the products. What XNNPACK has on integers is
done on integers; an operator it lacks, or one that reads or gives a tensor without a grid, stays float32
between ``DEQUANTIZE`` and ``QUANTIZE``, inside the same partition, and a note says which and why.

* An average pooling, which XNNPACK lacks on integers, is a ``DEPTHWISE_CONV_2D`` with equal weights.
* An activation that no operator could take in is the ``QUANTIZE`` to its result's grid where that cuts off
  the same numbers, else a product with 1 that takes it in.

Source: TensorFlow Lite 8-bit quantization specification.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.quantize.grids import Grid, Grids, WeightGrid
from tdedge_exporters.tflite.order import Order, Shape
from tdedge_exporters.tflite.peephole import ACTIVATIONS
from tdedge_exporters.tflite.program import Array, Op, Program, Scales, Tensor
from tdedge_exporters.tflite.spread import CUTS, MOVES, is_real, operands, spread
from tdedge_exporters.tflite.versions import int8_version
from tdedge_exporters.tflite.weights import axis_of, dequantised
from tdedge_exporters.tflite.window import Axis, is_valid

Held = dict[Tensor, tuple[ir.Value, Order]]

_INT8, _INT32, _FLOAT = np.dtype(np.int8), np.dtype(np.int32), np.dtype(np.float32)
#: Between the unsigned zero point of a network's grid and the signed one of the file.
_OFFSET = 128
_LARGEST_BIAS = 2.0**31 - 1
#: Grids that functions of a fixed range give.
_FIXED = {"LOGISTIC": Grid(1 / 256, 0), "TANH": Grid(1 / 128, 128)}
#: Ratios of scales that XNNPACK's kernels take: [least, most).
_CONVERSIONS = 2.0**-8, 2.0**7
_SUMS, _PRODUCTS, _CONVOLUTIONS = (2.0**-10, 2.0**8), (2.0**-16, 2.0**8), (2.0**-32, 2.0**8)
#: Names listed in one note.
_MOST_NAMES = 8


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


class _Integers:
    def __init__(
        self, program: Program, holds: Held, known: dict[Tensor, Grid], grids: Grids, *, integer_io: bool
    ) -> None:
        self.program, self.holds, self.known, self.grids = program, holds, known, grids
        self.integer_io = integer_io
        self.ops: list[Op] = []
        self.whole: dict[Tensor, Tensor] = {}  # a tensor of the float32 program -> its integers
        self.real: dict[Tensor, Tensor] = {}  # one that was made of integers -> its float32 numbers
        self.converted: dict[tuple[Tensor, Grid], Tensor] = {}
        self.made: set[Tensor] = set()  # made of integers
        self.widened: dict[Tensor, Tensor] = {}
        self.ends = {tensor for _, tensor in program.outputs}
        self.stays: dict[str, list[str]] = {}
        self.forms: dict[str, Callable[[Op], None]] = {
            **dict.fromkeys(MOVES, self._move),
            **dict.fromkeys(CUTS, self._cut),
            **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), self._product),
            **dict.fromkeys(("ADD", "SUB", "MUL"), self._arithmetic),
            **dict.fromkeys(("ELU", "LEAKY_RELU", "LOGISTIC", "TANH"), self._curve),
            "AVERAGE_POOL_2D": self._average,
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
            listed = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
            program.notes.append(f"{len(names)} operators stay float32, because {why}: {listed}")

    def _input(self, tensor: Tensor) -> Tensor:
        if tensor not in self.known:
            return tensor
        made = self._new(tensor.name, tensor.shape, self.known[tensor])
        self._give(tensor, made)
        return made

    def _output(self, tensor: Tensor) -> Tensor:
        """The integers of an output, a tensor of their own."""
        if tensor not in self.known or not is_real(tensor):
            return tensor
        grid = self.known[tensor]
        made = self._as_whole(tensor, grid)
        if made in [other for _, other in (*self.program.inputs, *self.program.outputs)]:
            options = schema.ReshapeOptionsT()
            options.newShape = list(tensor.shape)
            shape = Tensor("shape", (len(tensor.shape),), _INT32, np.array(tensor.shape, np.int32))
            made, source = self._new(tensor.name, tensor.shape, grid), made
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
            if tensor is not None and index == 1 and axis is not None and tensor.origin in self.grids.weights:
                inputs.append(self._widened(tensor, axis))
            else:
                inputs.append(tensor if tensor is None else self._as_real(tensor))
        self.ops.append(Op(op.code, inputs, op.outputs, op.options, op.version))

    def _widened(self, weight: Tensor, axis: int) -> Tensor:
        """A weight on a grid, stored as integers for an operator on float32 numbers."""
        if weight not in self.widened:
            made = dequantised(weight, WeightGrid(self._weight_scales(weight, axis), axis))
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
        inputs = [t if t is None or not is_real(t) else self._as_whole(t, grid) for t in op.inputs]
        self._emit(op.code, inputs, op.options, result, grid)

    def _cut(self, op: Op) -> None:
        """An activation or a bound by itself: where its result's grid ends, else inside a product with 1."""
        data, result = operands(op), op.outputs[0]
        if len(data) != 1:
            raise _Stays(_NO_FORM)
        before, after = self._grid(data[0]), self._grid(result)
        low, high = _bounds(op)
        half = after.scale / 2
        if after.low >= low - half and after.high <= high + half:
            self._give(result, self._as_whole(data[0], after))
            return
        if op.code not in ACTIVATIONS:
            raise _Stays(_NO_FORM)
        options = schema.MulOptionsT()
        options.fusedActivationFunction = ACTIVATIONS[op.code]
        self._require((before.scale / after.scale,), _PRODUCTS)
        one = self._new("one", (), Grid(1.0, 0))
        one.data = np.array(1 - _OFFSET, np.int8)
        self._emit("MUL", [self._as_whole(data[0], before), one], options, result, after)

    def _product(self, op: Op) -> None:
        data, weight, bias = (*op.inputs, None)[:3]
        result, axis = op.outputs[0], axis_of(op)
        if data is None or weight is None or weight.data is None or axis is None:
            raise _Stays(_NO_WEIGHTS)
        if weight.origin not in self.grids.weights:
            raise _Stays(_NO_WEIGHTS)
        if bias is not None and bias.data is None:
            raise _Stays(_NO_WEIGHTS)
        before, after = self._grid(data), self._grid(result)
        scales = self._weight_scales(weight, axis)
        self._require(before.scale * scales.astype(np.float64) / after.scale, _CONVOLUTIONS)
        grid = WeightGrid(scales, axis)
        stored = Tensor(weight.name, weight.shape, _INT8, grid.quantise(weight.data))
        stored.scales = Scales(scales, axis=axis)
        offset = self._bias(result, bias, before.scale * scales.astype(np.float64))
        self._emit(op.code, [self._as_whole(data, before), stored, offset], op.options, result, after)

    @staticmethod
    def _bias(result: Tensor, bias: Tensor | None, scales: Array) -> Tensor:
        real = np.zeros(len(scales)) if bias is None or bias.data is None else bias.data.astype(np.float64)
        whole = np.clip(np.rint(real / scales), -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32)
        name = bias.name if bias is not None else f"{result.name}/bias"
        return Tensor(name, whole.shape, _INT32, whole, scales=Scales(scales.astype(np.float32)))

    def _weight_scales(self, weight: Tensor, axis: int) -> Array:
        """Scales of the output channels; a channel of zeros has the largest of the others'."""
        assert weight.data is not None
        scales = self.grids.weights[weight.origin].scales
        if len(scales) != weight.shape[axis]:
            raise _Stays(_NO_WEIGHTS)
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
        weight = Tensor("average", ones.shape, _INT8, ones, scales=Scales(scales, axis=3))
        bias = self._bias(result, None, before.scale * scales.astype(np.float64))
        inputs: list[Tensor | None] = [self._as_whole(data, before), weight, bias]
        self._emit("DEPTHWISE_CONV_2D", inputs, options, result, after)

    def _mean(self, op: Op) -> None:
        (data,), result = operands(op), op.outputs[0]
        before, after = self._grid(data), self._grid(result)
        self._require((before.scale / after.scale,), _CONVERSIONS)
        inputs = [self._as_whole(data, before), *op.inputs[1:]]
        self._emit(op.code, inputs, op.options, result, after)

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
        inputs: list[Tensor | None] = [self._as_whole(t, grid) for t, grid in pairs if t is not None]
        self._emit(op.code, inputs, op.options, result, after)

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
            self._require((ratio, abs(ratio * op.options.alpha)), _CONVERSIONS)
        self._emit(op.code, [self._as_whole(data, before)], op.options, result, given)

    # Tensors

    def _grid(self, tensor: Tensor) -> Grid:
        if tensor not in self.known:
            raise _Stays(_NO_RANGE)
        return self.known[tensor]

    @staticmethod
    def _require(ratios: Array | Sequence[float], limits: tuple[float, float]) -> None:
        array = np.asarray(ratios, np.float64)
        if (array < limits[0]).any() or (array >= limits[1]).any():
            raise _Stays(_FAR)

    @staticmethod
    def _new(name: str, shape: Shape, grid: Grid) -> Tensor:
        return Tensor(name, shape, _INT8, scales=_scales(grid))

    def _as_whole(self, tensor: Tensor, grid: Grid) -> Tensor:
        """The integers of a tensor on a grid, made at the first need."""
        if tensor.data is not None:
            return self._constant(tensor, grid)
        own = self.known[tensor]
        if tensor not in self.whole:
            self.whole[tensor] = self._convert(tensor, own)
        whole = self.whole[tensor]
        return whole if own == grid else self._requantised(whole, own, grid)

    def _constant(self, tensor: Tensor, grid: Grid) -> Tensor:
        assert tensor.data is not None
        if (tensor, grid) not in self.converted:
            made = self._new(tensor.name, tensor.shape, grid)
            made.data = (grid.quantise(tensor.data).astype(np.int16) - _OFFSET).astype(np.int8)
            self.converted[tensor, grid] = made
        return self.converted[tensor, grid]

    def _requantised(self, whole: Tensor, before: Grid, after: Grid) -> Tensor:
        """Integers on another grid; by way of float32 where XNNPACK does not take the ratio."""
        if not _CONVERSIONS[0] <= before.scale / after.scale < _CONVERSIONS[1]:
            whole = self._dequantised(whole, Tensor(f"{whole.name}/float32", whole.shape, _FLOAT))
        return self._convert(whole, after)

    def _convert(self, tensor: Tensor, grid: Grid) -> Tensor:
        if (tensor, grid) not in self.converted:
            made = self._new(f"{tensor.name}/int8", tensor.shape, grid)
            self.ops.append(Op("QUANTIZE", [tensor], [made], schema.QuantizeOptionsT()))
            self.converted[tensor, grid] = made
        return self.converted[tensor, grid]

    def _dequantised(self, whole: Tensor, made: Tensor) -> Tensor:
        op = Op("DEQUANTIZE", [whole], [made], schema.DequantizeOptionsT())
        op.version = int8_version(op)
        self.ops.append(op)
        return made

    def _as_real(self, tensor: Tensor) -> Tensor:
        """The float32 numbers of a tensor: itself where it was not made of integers."""
        if tensor in self.made and tensor not in self.real:
            name = f"{tensor.name}/float32"
            self.real[tensor] = self._dequantised(self.whole[tensor], Tensor(name, tensor.shape, _FLOAT))
        return self.real.get(tensor, tensor)

    def _emit(self, code: str, inputs: list[Tensor | None], options: Any, result: Tensor, grid: Grid) -> None:
        """Append an operator that gives ``result`` on ``grid``, and take it to its own grid."""
        own = self.known[result]
        made = self._new(f"{result.name}/whole", result.shape, grid)
        op = Op(code, inputs, [made], copy.copy(options))
        op.version = int8_version(op)
        self.ops.append(op)
        self._give(result, made if own == grid else self._requantised(made, grid, own))

    def _give(self, result: Tensor, made: Tensor) -> None:
        """Say that the integers ``made`` are ``result``; a float32 output is converted at once."""
        self.whole[result] = made
        self.made.add(result)
        if result in self.ends and not self.integer_io:
            made.name = f"{result.name}/int8"
            self.real[result] = self._dequantised(made, result)
        elif result in self.holds and made not in self.holds:
            self.holds[made] = self.holds[result]
            made.name = result.name


def _bounds(op: Op) -> tuple[float, float]:
    """The range a cut leaves."""
    if op.code in ("MAXIMUM", "MINIMUM"):
        (bound,) = (t.data for t in op.inputs if t is not None and t.data is not None)
        number = float(bound.max() if op.code == "MAXIMUM" else bound.min())
        return (number, np.inf) if op.code == "MAXIMUM" else (-np.inf, number)
    return {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}[op.code]


def _scales(grid: Grid) -> Scales:
    return Scales(np.array([grid.scale], np.float32), grid.zero_point - _OFFSET)
