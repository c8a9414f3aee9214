"""The operator as it stands: an n-d convolution, or a matrix product for a Linear layer.

y = act(W * x + b)                    exact always: this is the definition of a factor
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from tdedge.factor import Factor, Shape
from tdedge_exporters.planner.emitter import Emitter, shape_of
from tdedge_exporters.planner.offer import Offer


def offers(factor: Factor, shape: Shape) -> Iterator[Offer]:
    """One offer, native to native."""

    def emit(e: Emitter, x: ir.Value) -> ir.Value:
        if factor.spatial_rank == 0:
            return e.activation(_linear(e, x, factor), factor.activation)
        y = e.conv(
            x,
            factor.kernel,
            factor.bias,
            stride=factor.stride,
            pads=factor.pads,
            dilation=factor.dilation,
            groups=factor.groups,
        )
        return e.activation(y, factor.activation)

    yield Offer("conv" if factor.spatial_rank else "linear", emit)


def _linear(e: Emitter, x: ir.Value, factor: Factor) -> ir.Value:
    sizes = shape_of(x)
    if len(sizes) == 2:
        inputs = [x, e.constant(factor.kernel, x)]
        if factor.bias is not None:
            inputs.append(e.constant(factor.bias, x))
        return e.op("Gemm", inputs, (sizes[0], factor.out_channels), transB=1)
    y = e.matmul(x, e.constant(factor.kernel.T, x))
    return y if factor.bias is None else e.binary("Add", y, e.constant(factor.bias, x))
