"""Nodes with known shapes, appended to a list: what every form writes its graph with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from tdedge.factor import Shape

Attribute = int | float | str | Sequence[int]


class Emitter:
    """A growing list of nodes and constants with fresh names.

    Attributes:
        nodes: in execution order.
        constants: initializers by name.
        stem: prefix of the names of what is emitted next.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.nodes: list[ir.Node] = []
        self.constants: dict[str, ir.Value] = {}
        self.stem = "plan"
        self._taken = set(taken)
        self._lists: dict[tuple[int, ...], ir.Value] = {}
        self._numbers: dict[tuple[float, ir.DataType | None], ir.Value] = {}

    def fresh(self, name: str) -> str:
        """``name``, numbered where it is taken."""
        found, count = name, 1
        while found in self._taken:
            count += 1
            found = f"{name}_{count}"
        self._taken.add(found)
        return found

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        shape: Sequence[int],
        **attributes: Attribute,
    ) -> ir.Value:
        """A node of one output of ``shape`` and the first input's element type."""
        return self.ops(op_type, inputs, [shape], **attributes)[0]

    def ops(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        shapes: Sequence[Sequence[int]],
        **attributes: Attribute,
    ) -> list[ir.Value]:
        """A node of one output for every shape, all of the first input's element type."""
        first = next(value for value in inputs if value is not None)
        name = self.fresh(f"{self.stem}.{op_type.lower()}")
        node = ir.Node(
            "",
            op_type,
            inputs,
            [ir.convenience.convert_attribute(k, v) for k, v in attributes.items()],
            num_outputs=len(shapes),
            name=name,
        )
        for index, (made, shape) in enumerate(zip(node.outputs, shapes, strict=True)):
            made.name = name if index == 0 else self.fresh(f"{name}.{index}")
            made.type, made.shape = first.type, ir.Shape(shape)
        self.nodes.append(node)
        return list(node.outputs)

    def copy(self, node: ir.Node, known: Mapping[ir.Value, ir.Value]) -> list[ir.Value]:
        """``node`` as it is, under its own names, reading ``known`` instead of the values it read."""
        inputs = [None if value is None else known.get(value) or self.adopt(value) for value in node.inputs]
        made = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            node.attributes.values(),
            overload=node.overload,
            num_outputs=len(node.outputs),
            version=node.version,
            name=node.name,
        )
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.name, new.type, new.shape = old.name, old.type, old.shape
        self.nodes.append(made)
        return list(made.outputs)

    def adopt(self, value: ir.Value) -> ir.Value:
        """The initializer that holds what a constant of another graph holds, under its name."""
        name = str(value.name)
        if name not in self.constants:
            held = ir.convenience.get_const_tensor(value)
            assert held is not None, f"{name} is no constant"
            self.constants[name] = ir.Value(
                name=name,
                type=ir.TensorType(held.dtype),
                shape=ir.Shape(held.shape.numpy()),
                const_value=held,
            )
        return self.constants[name]

    def constant(self, array: NDArray[Any], like: ir.Value | None = None) -> ir.Value:
        """An initializer; in the element type of ``like`` where given."""
        if like is not None and like.dtype is not None:
            array = array.astype(like.dtype.numpy(), copy=False)
        name = self.fresh(f"{self.stem}.constant")
        tensor = ir.tensor(np.asarray(array, order="C"), name=name)
        value = ir.Value(
            name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
        )
        self.constants[name] = value
        return value

    def integers(self, values: Sequence[int]) -> ir.Value:
        """A list of 64-bit integers; equal lists are one initializer."""
        key = tuple(int(value) for value in values)
        if key not in self._lists:
            self._lists[key] = self.constant(np.array(key, np.int64))
        return self._lists[key]

    def number(self, factor: float, like: ir.Value) -> ir.Value:
        """A scalar in the element type of ``like``; equal numbers are one initializer."""
        key = (factor, like.dtype)
        if key not in self._numbers:
            self._numbers[key] = self.constant(np.asarray(factor, np.float64), like)
        return self._numbers[key]

    def reshape(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """The same elements in another shape."""
        if shape_of(value) == tuple(shape):
            return value
        return self.op("Reshape", [value, self.integers(shape)], shape)

    def transpose(self, value: ir.Value, perm: Sequence[int]) -> ir.Value:
        """Axes permuted; a permutation that moves only axes of size 1 is a reshape."""
        sizes = shape_of(value)
        shape = [sizes[axis] for axis in perm]
        moved = [axis for axis in perm if sizes[axis] != 1]
        if moved == sorted(moved):
            return self.reshape(value, shape)
        return self.op("Transpose", [value], shape, perm=list(perm))

    def slice(self, value: ir.Value, axis: int, begin: int, end: int, step: int = 1) -> ir.Value:
        """``value[begin:end:step]`` along one axis; ``begin`` and ``end`` are not negative."""
        sizes = list(shape_of(value))
        if (begin, step) == (0, 1) and end >= sizes[axis]:
            return value
        sizes[axis] = len(range(begin, min(end, sizes[axis]), step))
        bounds = [self.integers([number]) for number in (begin, end, axis, step)]
        return self.op("Slice", [value, *bounds], sizes)

    def concat(self, values: Sequence[ir.Value], axis: int) -> ir.Value:
        """Values joined along one axis."""
        if len(values) == 1:
            return values[0]
        sizes = list(shape_of(values[0]))
        sizes[axis] = sum(shape_of(value)[axis] for value in values)
        return self.op("Concat", values, sizes, axis=axis)

    def pad(self, value: ir.Value, pads: Sequence[tuple[int, int]]) -> ir.Value:
        """Zeros before and after every axis; a negative pad crops."""
        if not any(map(any, pads)):
            return value
        sizes = shape_of(value)
        shape = [size + sum(pair) for size, pair in zip(sizes, pads, strict=True)]
        flat = [begin for begin, _ in pads] + [end for _, end in pads]
        return self.op("Pad", [value, self.integers(flat)], shape)

    def pad_first(self, value: ir.Value, begin: int, end: int) -> ir.Value:
        """Zeros before and after the first axis, joined to it; a negative ``end`` crops."""
        size, *rest = shape_of(value)
        parts = [self.slice(value, 0, 0, size + min(end, 0))]
        if begin:
            parts.insert(0, self.constant(np.zeros((begin, *rest)), value))
        if end > 0:
            parts.append(self.constant(np.zeros((end, *rest)), value))
        return self.concat(parts, 0)

    def conv(
        self,
        value: ir.Value,
        kernel: NDArray[Any] | ir.Value,
        bias: NDArray[Any] | ir.Value | None = None,
        *,
        stride: Sequence[int] = (),
        pads: Sequence[tuple[int, int]] = (),
        dilation: Sequence[int] = (),
        groups: int = 1,
    ) -> ir.Value:
        """``Conv`` with a constant kernel (C_out, C_in/groups, *k); constants may be shared."""
        weights = self.constant(kernel, value) if isinstance(kernel, np.ndarray) else kernel
        offset = self.constant(bias, value) if isinstance(bias, np.ndarray) else bias
        channels, _, *taps = shape_of(weights)
        axes = len(taps)
        stride, dilation = tuple(stride) or (1,) * axes, tuple(dilation) or (1,) * axes
        pads = tuple(pads) or ((0, 0),) * axes
        batch, _, *spatial = shape_of(value)
        sizes = [
            (size + sum(pad) - d * (k - 1) - 1) // s + 1
            for size, pad, d, k, s in zip(spatial, pads, dilation, taps, stride, strict=True)
        ]
        return self.op(
            "Conv",
            [value, weights] if offset is None else [value, weights, offset],
            (batch, channels, *sizes),
            group=groups,
            kernel_shape=list(taps),
            strides=list(stride),
            dilations=list(dilation),
            pads=[begin for begin, _ in pads] + [end for _, end in pads],
        )

    def matmul(self, first: ir.Value, second: ir.Value) -> ir.Value:
        """``MatMul``, leading axes broadcast."""
        a, b = shape_of(first), shape_of(second)
        shape = (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
        return self.op("MatMul", [first, second], shape)

    def binary(self, op_type: str, first: ir.Value, second: ir.Value) -> ir.Value:
        """``Add``, ``Mul``, ``Max``, ...: NumPy's broadcasting."""
        return self.op(op_type, [first, second], np.broadcast_shapes(shape_of(first), shape_of(second)))

    def activation(self, value: ir.Value, name: str | None) -> ir.Value:
        """One of :data:`tdedge.factor.ACTIVATIONS`, or nothing."""
        if name is None:
            return value
        sizes = shape_of(value)
        if name == "relu6":
            bounds = [self.constant(np.asarray(bound, np.float64), value) for bound in (0, 6)]
            return self.op("Clip", [value, *bounds], sizes)
        return self.op({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[name], [value], sizes)


def shape_of(value: ir.Value) -> Shape:
    """The static shape of a value that an emitter made or was given."""
    assert value.shape is not None
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]
