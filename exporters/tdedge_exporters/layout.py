"""Axis letters of a network's inputs and outputs, where the graph itself shows them.

A tensor of three to five axes is channels-first when a convolution, pooling or batch normalisation reads it
or makes it, directly or through operators that leave every axis where it is. A matrix of floats has its rows
in N. Nothing is claimed of any other tensor: sequences, token numbers, and inputs that are transposed first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import onnx_ir as ir

from tdedge.agreement import Array
from tdedge.golden import to_layout
from tdedge_runtimes.session import TensorInfo

Run = Callable[[dict[str, Array]], Mapping[str, Array]]

_LETTERS = {3: "NCW", 4: "NCHW", 5: "NCDHW"}
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_CHANNELS_FIRST = {
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "InstanceNormalization",
    "MaxPool",
}
#: Operators whose outputs have the axes of every input of the same rank.
_KEEP_AXES = {
    *("Abs", "Add", "Cast", "Ceil", "Clip", "Concat", "Div", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu"),
    *("HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "LogSoftmax", "Mul", "Neg", "PRelu", "Pad"),
    *("Relu", "Resize", "Round", "Selu", "Sigmoid", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Sub"),
    *("Sum", "Tanh"),
}


def layout_of(value: ir.Value) -> str:
    """Axis letters such as ``NCHW``; empty where the graph does not show them."""
    axes = 0 if value.shape is None else len(value.shape)
    if axes == 2:
        return "NC" if value.dtype in _FLOATS else ""
    if axes not in _LETTERS:
        return ""
    seen, ahead = {value}, [value]
    while ahead:
        for node, other in _neighbours(ahead.pop()):
            if node.op_type in _CHANNELS_FIRST:
                return _LETTERS[axes]
            same = other.shape is not None and len(other.shape) == axes
            if node.op_type in _KEEP_AXES and same and other not in seen:
                seen.add(other)
                ahead.append(other)
    return ""


def in_layout(run: Run, layout: str) -> Run:
    """``run`` of a file, taking the network's own inputs."""
    return lambda feed: run(to_layout(feed, layout))


def layout_taken(model: ir.Model, inputs: Sequence[TensorInfo]) -> str:
    """The input layout of a file of this network, as far as shapes tell: ``nhwc`` where only that fits."""
    shapes = {value.name: tuple(value.shape or ()) for value in model.graph.inputs}
    for info in inputs:
        shape = shapes.get(info.name, ())
        if len(shape) >= 3 and info.shape != shape and info.shape == (shape[0], *shape[2:], shape[1]):
            return "nhwc"
    return "nchw"


def _neighbours(value: ir.Value) -> Iterator[tuple[ir.Node, ir.Value]]:
    """Nodes that read ``value`` as data or make it, each with the tensors on its other side."""
    for node, index in value.uses():
        if index == 0 or node.op_type in _KEEP_AXES:
            yield from ((node, other) for other in node.outputs)
    maker = value.producer()
    if maker is not None:
        for other in maker.inputs:
            if other is not None and not other.is_initializer():
                yield maker, other
