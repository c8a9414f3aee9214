"""What a graph takes by the roofline model: the fallback where a target cannot be timed.

    t = sum over nodes of max(flops / (peak * filled lanes), bytes / bandwidth)

flops are two per multiply-accumulate of Conv, Gemm and MatMul; filled lanes is the share of whole SIMD
vectors that their output channels use; bytes are those a node reads and writes, constants included; Reshape
moves nothing. Activations are free: runtimes compute them in the operator before. (Source: Williams,
Waterman, Patterson, "Roofline", Communications of the ACM 52(4), 2009.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from tdedge_exporters.planner.forms.packed import fill

_FREE = frozenset(
    ("Reshape", "Relu", "Clip", "Sigmoid", "Tanh", "Identity", "Flatten", "Squeeze", "Unsqueeze")
)


@dataclass(frozen=True)
class Work:
    """What one node does.

    Attributes:
        flops: two per multiply-accumulate.
        lane_flops: as many as the idle lanes make of them.
        bytes: read and written.
    """

    flops: float
    lane_flops: float
    bytes: int


@dataclass(frozen=True)
class Roofline:
    """What one device can do with one thread or several.

    Attributes:
        peak_gflops: best rate of a matrix product or convolution, in 10^9 operations per second.
        bandwidth_gbs: best rate of reading and writing memory, in 10^9 bytes per second.
        lanes: SIMD lanes of float32.
    """

    peak_gflops: float
    bandwidth_gbs: float
    lanes: int = 16

    def predict_ms(self, model: ir.Model) -> float:
        """Milliseconds of one inference; values of unknown shape count as one element."""
        return sum(self.node_ms(node) for node in model.graph)

    def node_ms(self, node: ir.Node) -> float:
        """Milliseconds of one node."""
        done = work(node, self.lanes)
        return max(done.lane_flops / self.peak_gflops, done.bytes / self.bandwidth_gbs) / 1e6


def work(node: ir.Node, lanes: int = 16) -> Work:
    """What a node computes and moves; values of unknown shape count as one element."""
    if node.op_type in _FREE:
        return Work(0.0, 0.0, 0)
    moved = sum(_bytes(value) for value in (*node.inputs, *node.outputs) if value is not None)
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return Work(0.0, 0.0, moved)
    weight, result = node.inputs[1], node.outputs[0]
    assert weight is not None
    shape, made = _shape(weight), _shape(result)
    if node.op_type == "Conv":
        channels, per_output = shape[0], prod(shape[1:])
        group = node.attributes.get("group")
        channels = channels if group is None or group.as_int() == 1 else made[1]
    else:
        channels = made[-1]
        first = node.inputs[0]
        assert first is not None
        per_output = _shape(first)[-1]
    flops = 2.0 * prod(made) * per_output
    return Work(flops, flops / fill(channels, lanes), moved)


def _shape(value: ir.Value) -> tuple[int, ...]:
    """The shape of a value; one element where it is not known."""
    if value.shape is None or not value.shape.is_static():
        return (1,)
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]


def _bytes(value: ir.Value) -> int:
    itemsize = value.dtype.itemsize if value.dtype is not None else 4
    return int(prod(_shape(value)) * itemsize)
