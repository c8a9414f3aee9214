"""THETIS Net2, dense, with ``CONV_3D`` operators: what a converter makes of it for TensorFlow Lite.

Our own lowering never uses ``CONV_3D``. Pools are two ``MAX_POOL_2D`` each: the format has no 3-D pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from tdedge.networks import thetis
from tdedge_exporters.tflite.program import Array, Op, Program, Tensor
from tdedge_exporters.tflite.writer import write

_FLOAT = np.dtype(np.float32)


class _Writer:
    """Appends operators to a program; tensors are (N, D, H, W, C)."""

    def __init__(self) -> None:
        self.program = Program()

    def constant(self, data: Array) -> Tensor:
        return Tensor(f"constant{id(data)}", data.shape, data.dtype, data)

    def op(self, code: str, inputs: Sequence[Tensor], shape: Sequence[int], options: Any) -> Tensor:
        made = Tensor(f"{code.lower()}_{len(self.program.ops)}", tuple(shape), _FLOAT)
        self.program.ops.append(Op(code, list(inputs), [made], options))
        return made

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return self.op("RESHAPE", [x, self.constant(np.array(shape, np.int32))], shape, options)

    def conv(self, x: Tensor, layer: nn.Conv3d) -> Tensor:
        """With ReLU after it; padded to keep the size, or not at all."""
        weight, bias = _array(layer.weight), _array(layer.bias)
        same = any(int(size) for size in layer.padding)
        taps = weight.shape[2:]
        sizes = [n if same else n - k + 1 for n, k in zip(x.shape[1:4], taps, strict=True)]
        options = schema.Conv3DOptionsT()
        options.padding = schema.Padding.SAME if same else schema.Padding.VALID
        options.strideD = options.strideH = options.strideW = 1
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        kernel = np.ascontiguousarray(weight.transpose(2, 3, 4, 1, 0))
        inputs = [x, self.constant(kernel), self.constant(bias)]
        return self.op("CONV_3D", inputs, (x.shape[0], *sizes, weight.shape[0]), options)

    def pool(self, x: Tensor, sizes: tuple[int, int, int]) -> Tensor:
        """Space first, then time."""
        n, d, h, w, c = x.shape
        x = self._pool2d(self.reshape(x, (n * d, h, w, c)), sizes[1:])
        h, w = h // sizes[1], w // sizes[2]
        x = self._pool2d(self.reshape(x, (n, d, h * w, c)), (sizes[0], 1))
        return self.reshape(x, (n, d // sizes[0], h, w, c))

    def _pool2d(self, x: Tensor, sizes: tuple[int, ...]) -> Tensor:
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideH = options.filterHeight = sizes[0]
        options.strideW = options.filterWidth = sizes[1]
        n, h, w, c = x.shape
        return self.op("MAX_POOL_2D", [x], (n, h // sizes[0], w // sizes[1], c), options)

    def linear(self, x: Tensor, layer: nn.Linear, *, relu: bool) -> Tensor:
        weight = _array(layer.weight)
        options = schema.FullyConnectedOptionsT()
        kind = schema.ActivationFunctionType
        options.fusedActivationFunction = kind.RELU if relu else kind.NONE
        inputs = [x, self.constant(weight), self.constant(_array(layer.bias))]
        return self.op("FULLY_CONNECTED", inputs, (x.shape[0], weight.shape[0]), options)


def write_thetis(path: Path) -> Path:
    """Write the network; its input is ``(N, C, D, H, W)``, as the other files take it."""
    network, w = thetis.dense(), _Writer()
    clip = Tensor("clip", thetis.INPUT_SHAPE, _FLOAT)
    order = (0, 2, 3, 4, 1)
    last = [thetis.INPUT_SHAPE[axis] for axis in order]
    x = w.op("TRANSPOSE", [clip, w.constant(np.array(order, np.int32))], last, schema.TransposeOptionsT())
    x = w.pool(w.conv(x, network.conv1), (2, 4, 4))
    x = w.pool(w.conv(x, network.conv2), (2, 4, 4))
    x = w.conv(x, network.l1)
    x = w.linear(w.reshape(x, (1, 128)), network.l2, relu=True)
    x = w.linear(x, network.out, relu=False)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    x = w.op("SOFTMAX", [x], x.shape, softmax)
    w.program.inputs.append(("clip", clip))
    w.program.outputs.append(("probabilities", x))
    path.write_bytes(write(w.program, {}))
    return path


def _array(tensor: Any) -> Array:
    values: Array = tensor.detach().numpy()
    return values
