"""Operators on stored tensors: what every lowering is made of. Constants are computed at once.

Every helper takes and gives :class:`Tensor` in its stored shape. Work along one axis is done on the view
``(before, axis, after)``, so that no tensor needs more than three axes for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.tflite.order import Shape
from tdedge_exporters.tflite.program import Array, Op, Program, Tensor

#: XNNPACK joins at most this many tensors in one operator.
_MOST_JOINED = 5


class TensorOps:
    """Appends operators to a program."""

    def __init__(self) -> None:
        self.program = Program()
        self._reshaped: dict[tuple[Tensor, Shape], Tensor] = {}
        #: The tensor a view is a reshape of.
        self.sources: dict[Tensor, Tensor] = {}
        self._integers: dict[tuple[tuple[int, ...], Shape], Tensor] = {}

    def emit(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        options: Any = None,
        *,
        version: int = 1,
        dtype: np.dtype[Any] | None = None,
    ) -> Tensor:
        """Append an operator of one output of ``shape``; its type is the first input's unless given."""
        return self.emit_many(code, inputs, [shape], options, version=version, dtype=dtype)[0]

    def emit_many(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        shapes: Sequence[Sequence[int]],
        options: Any = None,
        *,
        version: int = 1,
        dtype: np.dtype[Any] | None = None,
    ) -> list[Tensor]:
        """Append an operator of several outputs."""
        first = next(tensor for tensor in inputs if tensor is not None)
        made = [Tensor("", tuple(int(s) for s in shape), dtype or first.dtype) for shape in shapes]
        self.program.ops.append(Op(code, list(inputs), made, options, version))
        return made

    def constant(self, array: Array | float, dtype: Any = None, name: str = "") -> Tensor:
        """A constant; ``dtype`` float32 unless given."""
        data = np.asarray(array, dtype or np.float32, order="C")
        return Tensor(name, data.shape, data.dtype, data)

    def derived(self, tensor: Tensor, data: Array) -> Tensor:
        """A constant made of the elements of another one, whose name and origin it keeps."""
        made = self.constant(data, tensor.dtype, tensor.name)
        made.origin = tensor.origin
        return made

    def zeros(self, size: int) -> Tensor:
        """A float32 vector of zeros, such as an absent bias."""
        return self.constant(np.zeros(size))

    def integers(self, values: Sequence[int], shape: Shape | None = None) -> Tensor:
        """An int32 constant such as a shape or axes; equal ones are one tensor."""
        key = (tuple(int(v) for v in values), shape or (len(values),))
        if key not in self._integers:
            self._integers[key] = self.constant(np.array(key[0], np.int32).reshape(key[1]), np.int32)
        return self._integers[key]

    def reshape(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """The same memory in another shape; views of views are views of the first."""
        target = tuple(int(size) for size in shape)
        if tensor.shape == target:
            return tensor
        if tensor.data is not None:
            return self.derived(tensor, tensor.data.reshape(target))
        source = self.sources.get(tensor, tensor)
        if source.shape == target:
            return source
        if (source, target) not in self._reshaped:
            options = schema.ReshapeOptionsT()
            options.newShape = list(target)
            made = self.emit("RESHAPE", [source, self.integers(target)], target, options)
            self._reshaped[source, target] = made
            self.sources[made] = source
        return self._reshaped[source, target]

    def transpose(self, tensor: Tensor, perm: Sequence[int]) -> Tensor:
        """Axes permuted; neighbours that stay together are one axis, and nothing is done for axes of 1."""
        target = tuple(tensor.shape[axis] for axis in perm)
        if tensor.data is not None:
            return self.derived(tensor, tensor.data.transpose(tuple(perm)))
        groups: list[list[int]] = []
        for axis in (axis for axis in perm if tensor.shape[axis] != 1):
            follows = groups and all(tensor.shape[a] == 1 for a in range(groups[-1][-1] + 1, axis))
            if follows and groups[-1][-1] < axis:
                groups[-1].append(axis)
            else:
                groups.append([axis])
        stored = sorted(groups)
        if groups == stored:
            return self.reshape(tensor, target)
        sizes = [math.prod(tensor.shape[axis] for axis in group) for group in stored]
        moves = [stored.index(group) for group in groups]
        seen = self.reshape(tensor, sizes)
        shape = [sizes[axis] for axis in moves]
        made = self.emit("TRANSPOSE", [seen, self.integers(moves)], shape, schema.TransposeOptionsT())
        return self.reshape(made, target)

    def slice(self, tensor: Tensor, axis: int, begin: int, end: int, step: int = 1) -> Tensor:
        """``tensor[begin:end:step]`` along one axis, ``0 <= begin < end``, positive step.

        A step is taken on the view ``(before, size/step, step, after)``: a slice without a step, which
        XNNPACK has.
        """
        size = tensor.shape[axis]
        count = -(-(end - begin) // step)
        target = (*tensor.shape[:axis], count, *tensor.shape[axis + 1 :])
        if tensor.data is not None:
            cut = [slice(None)] * len(target)
            cut[axis] = slice(begin, end, step)
            return self.derived(tensor, tensor.data[tuple(cut)])
        if count == size:
            return tensor
        before, after = math.prod(target[:axis]), math.prod(target[axis + 1 :])
        if count == 1 or step == 1:
            seen = self.reshape(tensor, (before, size, after))
            return self.reshape(self._cut(seen, (0, begin, 0), (before, count, after)), target)
        seen = self.pad_axis(self.reshape(tensor, (before, size, after)), 1, (0, -size % step))
        groups = self.reshape(seen, (before, seen.shape[1] // step, step, after))
        first = (0, begin // step, begin % step, 0)
        return self.reshape(self._cut(groups, first, (before, count, 1, after)), target)

    def _cut(self, tensor: Tensor, begin: Shape, shape: Shape) -> Tensor:
        inputs = [tensor, self.integers(begin), self.integers(shape)]
        return self.emit("SLICE", inputs, shape, schema.SliceOptionsT())

    def pad(self, tensor: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
        """Constant padding, (begin, end) per axis; a value other than zero is not an operator of XNNPACK."""
        shape = [size + sum(pad) for size, pad in zip(tensor.shape, pads, strict=True)]
        if not any(map(sum, pads)):
            return tensor
        if tensor.data is not None:
            return self.derived(tensor, np.pad(tensor.data, list(pads), constant_values=value))
        amounts = self.integers([amount for pad in pads for amount in pad], (len(shape), 2))
        if value == 0:
            return self.emit("PAD", [tensor, amounts], shape, schema.PadOptionsT())
        filler = self.constant(np.array([value]), tensor.dtype)
        return self.emit("PADV2", [tensor, amounts, filler], shape, schema.PadV2OptionsT())

    def pad_axis(self, tensor: Tensor, axis: int, pad: tuple[int, int], value: float = 0.0) -> Tensor:
        """Constant padding of one axis."""
        if not sum(pad):
            return tensor
        before, after = math.prod(tensor.shape[:axis]), math.prod(tensor.shape[axis + 1 :])
        seen = self.reshape(tensor, (before, tensor.shape[axis], after))
        made = self.pad(seen, [(0, 0), pad, (0, 0)], value)
        return self.reshape(made, (*tensor.shape[:axis], made.shape[1], *tensor.shape[axis + 1 :]))

    def concat(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """Joined along one axis."""
        first = tensors[0]
        if len(tensors) == 1:
            return first
        if all(tensor.data is not None for tensor in tensors):
            return self.constant(np.concatenate([t.data for t in tensors], axis), first.dtype)
        before, after = math.prod(first.shape[:axis]), math.prod(first.shape[axis + 1 :])
        parts = [self.reshape(tensor, (before, tensor.shape[axis], after)) for tensor in tensors]
        while len(parts) > 1:
            parts = [self._concat3(parts[i : i + _MOST_JOINED]) for i in range(0, len(parts), _MOST_JOINED)]
        return self.reshape(parts[0], (*first.shape[:axis], parts[0].shape[1], *first.shape[axis + 1 :]))

    def _concat3(self, parts: Sequence[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        before, _, after = parts[0].shape
        return self.emit("CONCATENATION", parts, (before, sum(p.shape[1] for p in parts), after), options)

    def binary(self, code: str, first: Tensor, second: Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """``ADD``, ``SUB``, ``MUL``, ``DIV``, ``MAXIMUM``, ``MINIMUM``, ``POW``; NumPy's broadcasting."""
        options = {
            "ADD": schema.AddOptionsT,
            "SUB": schema.SubOptionsT,
            "MUL": schema.MulOptionsT,
            "DIV": schema.DivOptionsT,
            "MAXIMUM": schema.MaximumMinimumOptionsT,
            "MINIMUM": schema.MaximumMinimumOptionsT,
            "POW": schema.PowOptionsT,
        }[code]()
        result = np.broadcast_shapes(first.shape, second.shape) if shape is None else tuple(shape)
        return self.emit(code, [first, second], result, options)

    def unary(self, code: str, tensor: Tensor, options: Any = None) -> Tensor:
        """An operator that keeps the shape."""
        return self.emit(code, [tensor], tensor.shape, options)
