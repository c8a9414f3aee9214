"""Integers and float32 numbers of the same tensor, each made of the other at the first need."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.quantize.grids import Grid
from tdedge_exporters.tflite.order import Order, Shape
from tdedge_exporters.tflite.program import Op, Scales, Tensor
from tdedge_exporters.tflite.versions import int8_version

#: Tensor -> the network's value it holds.
Held = dict[Tensor, tuple[ir.Value, Order]]

INT8, FLOAT = np.dtype(np.int8), np.dtype(np.float32)
#: Between the unsigned zero point of a network's grid and the signed one of the file.
OFFSET = 128
#: Ratios of scales, [least, most), that XNNPACK converts integers by.
CONVERSIONS = 2.0**-8, 2.0**7


class Conversions:
    """The operators of a program of integers, as they are appended, and the tensors they make.

    Args:
        holds: of the float32 program; gets the tensors of integers.
        known: tensor of the float32 program -> its grid.
        float_ends: outputs that are float32 numbers whatever they are made of.
    """

    def __init__(self, holds: Held, known: Mapping[Tensor, Grid], float_ends: Collection[Tensor]) -> None:
        self.holds, self.known, self._float_ends = holds, known, float_ends
        self.ops: list[Op] = []
        self._whole: dict[Tensor, Tensor] = {}  # a tensor of the float32 program -> its integers
        self._real: dict[Tensor, Tensor] = {}  # one that was made of integers -> its float32 numbers
        self._made: set[Tensor] = set()  # made of integers
        self._converted: dict[tuple[Tensor, Grid], Tensor] = {}

    @staticmethod
    def new(name: str, shape: Shape, grid: Grid) -> Tensor:
        """A tensor of integers on a grid."""
        return Tensor(name, shape, INT8, scales=_scales(grid))

    def as_whole(self, tensor: Tensor, grid: Grid) -> Tensor:
        """The integers of a tensor on a grid, made at the first need."""
        if tensor.data is not None:
            return self._constant(tensor, grid)
        own = self.known[tensor]
        if tensor not in self._made and grid != own:
            return self._convert(tensor, grid)
        if tensor not in self._whole:
            self._whole[tensor] = self._convert(tensor, own)
        whole = self._whole[tensor]
        return whole if own == grid else self._requantised(whole, own, grid)

    def _constant(self, tensor: Tensor, grid: Grid) -> Tensor:
        assert tensor.data is not None
        if (tensor, grid) not in self._converted:
            made = self.new(tensor.name, tensor.shape, grid)
            made.data = (grid.quantise(tensor.data).astype(np.int16) - OFFSET).astype(np.int8)
            self._converted[tensor, grid] = made
        return self._converted[tensor, grid]

    def _requantised(self, whole: Tensor, before: Grid, after: Grid) -> Tensor:
        """Integers on another grid; by way of float32 where XNNPACK does not take the ratio."""
        if not CONVERSIONS[0] <= before.scale / after.scale < CONVERSIONS[1]:
            whole = self._dequantised(whole, Tensor(f"{whole.name}/float32", whole.shape, FLOAT))
        return self._convert(whole, after)

    def _convert(self, tensor: Tensor, grid: Grid) -> Tensor:
        if (tensor, grid) not in self._converted:
            made = self.new(f"{tensor.name}/int8", tensor.shape, grid)
            self.ops.append(Op("QUANTIZE", [tensor], [made], schema.QuantizeOptionsT()))
            self._converted[tensor, grid] = made
        return self._converted[tensor, grid]

    def _dequantised(self, whole: Tensor, made: Tensor) -> Tensor:
        op = Op("DEQUANTIZE", [whole], [made], schema.DequantizeOptionsT())
        op.version = int8_version(op)
        self.ops.append(op)
        return made

    def as_real(self, tensor: Tensor) -> Tensor:
        """The float32 numbers of a tensor: itself where it was not made of integers."""
        if tensor in self._made and tensor not in self._real:
            name = f"{tensor.name}/float32"
            self._real[tensor] = self._dequantised(self._whole[tensor], Tensor(name, tensor.shape, FLOAT))
        return self._real.get(tensor, tensor)

    def emit(self, code: str, inputs: list[Tensor | None], options: Any, result: Tensor, grid: Grid) -> None:
        """Append an operator that gives ``result`` on ``grid``, and take it to its own grid."""
        own = self.known[result]
        made = self.new(f"{result.name}/whole", result.shape, grid)
        op = Op(code, inputs, [made], copy.copy(options))
        op.version = int8_version(op)
        self.ops.append(op)
        self.give(result, made if own == grid else self._requantised(made, grid, own))

    def give(self, result: Tensor, made: Tensor) -> None:
        """Say that the integers ``made`` are ``result``; a float32 output is converted at once."""
        self._whole[result] = made
        self._made.add(result)
        if result in self._float_ends:
            made.name = f"{result.name}/int8"
            self._real[result] = self._dequantised(made, result)
        elif result in self.holds and made not in self.holds:
            self.holds[made] = self.holds[result]
            made.name = result.name


def _scales(grid: Grid) -> Scales:
    return Scales(np.array([grid.scale], np.float32), grid.zero_point - OFFSET)
