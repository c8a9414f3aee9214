"""Operators for :mod:`tdedge_exporters.reference`, where ONNX's own are slow, wrong or incomplete.

Written with numpy alone, for any number of spatial axes, from the definitions of the ONNX operator
specification. A *window* is the block of input an output position reads: it starts at
``stride * position - pads_begin`` and has one tap every ``dilation``.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_max_pool import MaxPool as StockMaxPool
from threadpoolctl import threadpool_limits

from tdedge.factor import Shape

Array = NDArray[Any]
Pads = list[tuple[int, int]]

#: Bytes of one unfolded block of a convolution; small enough to stay near the processor.
BLOCK_BYTES = 16 << 20
#: Matrix products with fewer rows than this run on one thread.
NARROW_ROWS = 32


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution or pooling lie, per spatial axis.

    Attributes:
        kernel: taps.
        stride: step between windows.
        dilation: step between taps.
        pads: (begin, end) padding.
        size: output positions.
        overhang: positions beyond the padded input that the last window reaches (``ceil_mode`` only).
    """

    kernel: Shape
    stride: Shape
    dilation: Shape
    pads: Pads
    size: Shape
    overhang: Shape

    @classmethod
    def of(
        cls,
        spatial: Sequence[int],
        kernel: Sequence[int],
        strides: Sequence[int] | None,
        dilations: Sequence[int] | None,
        pads: Sequence[int] | None,
        auto_pad: str | None,
        ceil_mode: int | None = 0,
    ) -> Windows:
        """Windows over an input of these spatial sizes, from the attributes of an ONNX node."""
        axes = len(spatial)
        stride = tuple(strides or (1,) * axes)
        dilation = tuple(dilations or (1,) * axes)
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        flat = list(pads or (0,) * (2 * axes))
        pairs = list(zip(flat[:axes], flat[axes:], strict=True))
        if auto_pad == "VALID":
            pairs = [(0, 0)] * axes
        elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            pairs = []
            for size, r, s in zip(spatial, reach, stride, strict=True):
                total = max(0, (math.ceil(size / s) - 1) * s + r - size)
                small, large = total // 2, total - total // 2
                pairs.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
        sizes, overhang = [], []
        for size, r, s, (begin, end) in zip(spatial, reach, stride, pairs, strict=True):
            room = size + begin + end - r
            count = room // s + 1
            # A further window is partly outside; it counts unless it starts in the padding at the end.
            if ceil_mode and room % s and count * s < size + begin:
                count += 1
            sizes.append(count)
            overhang.append(max(0, (count - 1) * s + r - size - begin - end))
        return cls(tuple(kernel), stride, dilation, pairs, tuple(sizes), tuple(overhang))

    def padded(self, x: Array, fill: float) -> Array:
        """``x`` (N, C, *spatial) with the padding, and the overhang, filled."""
        widths = [(b, e + o) for (b, e), o in zip(self.pads, self.overhang, strict=True)]
        if not any(map(any, widths)):
            return np.ascontiguousarray(x)
        return np.pad(x, [(0, 0), (0, 0), *widths], constant_values=fill)

    def taps(self, padded: Array) -> Iterator[Array]:
        """For every tap the values it meets at all output positions: (N, C, *size)."""
        for tap in product(*map(range, self.kernel)):
            slices: list[Any] = [
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, self.dilation, self.size, self.stride, strict=True)
            ]
            yield padded[(slice(None),) * 2 + tuple(slices)]

    def valid_taps(self, spatial: Sequence[int], *, count_pads: bool) -> Array:
        """How many taps of each window lie on the input (with ``count_pads``: or on its padding)."""
        counts = np.ones(())
        for axis, size in enumerate(spatial):
            begin, end = self.pads[axis]
            low, high = (-begin, size + end) if count_pads else (0, size)
            starts = np.arange(self.size[axis]) * self.stride[axis] - begin
            positions = starts[:, None] + np.arange(self.kernel[axis]) * self.dilation[axis]
            along = ((positions >= low) & (positions < high)).sum(axis=1)
            counts = counts[..., None] * along
        return counts


def convolve(x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    """Convolution of (N, C, *spatial) with (M, C/groups, *k), unfolded block by block and multiplied.

    Memory above input, padded input and output is one block of :data:`BLOCK_BYTES`.
    """
    n, channels = x.shape[:2]
    out_channels, per_group = weight.shape[:2]
    axes = len(windows.kernel)
    padded = windows.padded(x, 0.0).reshape(n, groups, per_group, -1)
    spatial = [s + b + e for s, (b, e) in zip(x.shape[2:], windows.pads, strict=True)]
    padded = padded.reshape(n, groups, per_group, *spatial)
    steps = padded.strides[3:]
    view = as_strided(
        padded,
        (n, groups, per_group, *windows.kernel, *windows.size),
        (
            *padded.strides[:3],
            *(d * s for d, s in zip(windows.dilation, steps, strict=True)),
            *(t * s for t, s in zip(windows.stride, steps, strict=True)),
        ),
        writeable=False,
    )
    inner = per_group * math.prod(windows.kernel)
    matrix = weight.reshape(groups, out_channels // groups, inner)
    result = np.empty((n, groups, out_channels // groups, *windows.size), dtype=np.result_type(x, weight))
    with _blas_threads(out_channels // groups):
        for sample in range(n):
            for block in _blocks(windows.size, channels * math.prod(windows.kernel) * x.itemsize):
                columns = view[sample][(slice(None),) * (2 + axes) + block].reshape(groups, inner, -1)
                part = result[sample][(slice(None),) * 2 + block]
                part[...] = (matrix @ columns).reshape(part.shape)
    result = result.reshape(n, out_channels, *windows.size)
    if bias is not None:
        result += bias.reshape(-1, *(1,) * axes)
    return result


def _blas_threads(rows: int) -> contextlib.AbstractContextManager[Any]:
    """One thread for products of few rows: splitting them costs more than it saves."""
    if rows >= NARROW_ROWS:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[Any] = threadpool_limits(limits=1, user_api="blas")
    return limits


def _blocks(size: Shape, bytes_per_position: int) -> Iterator[tuple[Any, ...]]:
    """Cut the output positions into boxes whose unfolded input takes about :data:`BLOCK_BYTES`."""
    room = max(1, BLOCK_BYTES // bytes_per_position)
    lengths = []
    for axis in range(len(size)):
        behind = math.prod(size[axis + 1 :])
        lengths.append(max(1, min(size[axis], room // behind)))
    starts = (range(0, n, length) for n, length in zip(size, lengths, strict=True))
    for corner in product(*starts):
        yield tuple(slice(start, start + length) for start, length in zip(corner, lengths, strict=True))


class Conv(OpRun):  # type: ignore[misc]
    """Convolution; ONNX's own unfolds the whole input at once."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str | None = None,
        dilations: list[int] | None = None,
        group: int | None = None,
        kernel_shape: list[int] | None = None,
        pads: list[int] | None = None,
        strides: list[int] | None = None,
    ) -> tuple[Array]:
        windows = Windows.of(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
        return (convolve(x, w, b, windows, group or 1),)


class ConvTranspose(OpRun):  # type: ignore[misc]
    """Transposed convolution, tap by tap; ONNX's own fails with groups and with ``output_shape``."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str | None = None,
        dilations: list[int] | None = None,
        group: int | None = None,
        kernel_shape: list[int] | None = None,
        output_padding: list[int] | None = None,
        output_shape: list[int] | None = None,
        pads: list[int] | None = None,
        strides: list[int] | None = None,
    ) -> tuple[Array]:
        n, channels, *spatial = x.shape
        axes, groups, kernel = len(spatial), group or 1, w.shape[2:]
        stride, dilation = strides or [1] * axes, dilations or [1] * axes
        extra = output_padding or [0] * axes
        steps = list(zip(spatial, kernel, stride, dilation, extra, strict=True))
        full = [s * (size - 1) + d * (k - 1) + 1 + e for size, k, s, d, e in steps]
        if not output_shape and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            output_shape = [size * s for size, s in zip(spatial, stride, strict=True)]
        if output_shape:
            spare = [f - size for f, size in zip(full, output_shape[-axes:], strict=True)]
            begin = [t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in spare]
            size = output_shape[-axes:]
        else:
            flat = pads or [0] * (2 * axes)
            begin = flat[:axes]
            size = [f - first - last for f, first, last in zip(full, begin, flat[axes:], strict=True)]
        outputs = w.shape[1]
        result = np.zeros((n, groups, outputs, *full), dtype=np.result_type(x, w))
        columns = x.reshape(n, groups, channels // groups, -1)
        for tap in product(*map(range, kernel)):
            matrix = w[(slice(None),) * 2 + tap].reshape(groups, channels // groups, outputs)
            where = tuple(
                slice(t * d, t * d + (n_in - 1) * s + 1, s)
                for t, (n_in, _, s, d, _) in zip(tap, steps, strict=True)
            )
            part = np.swapaxes(matrix, 1, 2) @ columns
            result[(slice(None),) * 3 + where] += part.reshape(n, groups, outputs, *spatial)
        kept = tuple(slice(first, first + length) for first, length in zip(begin, size, strict=True))
        result = result.reshape(n, groups * outputs, *full)[(slice(None),) * 2 + kept]
        return (result if b is None else result + b.reshape(-1, *(1,) * axes),)


class MeanVarianceNormalization(OpRun):  # type: ignore[misc]
    """Zero mean and unit deviation over ``axes``; ONNX's own is a function over float32 constants."""

    op_domain = ""

    def _run(self, x: Array, axes: list[int] | None = None) -> tuple[Array]:
        over = tuple((0, 2, 3) if axes is None else axes)
        return ((x - x.mean(over, keepdims=True)) / (x.std(over, keepdims=True) + 1e-9),)


class MaxPool(StockMaxPool):  # type: ignore[misc]
    """Maximum over windows; padding never wins. With ``Indices`` ONNX's own is used."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array, ...]:
        if len(self.onnx_node.output) > 1:
            results: tuple[Array, ...] = super()._run(x, **attributes)
            return results
        windows = _pool_windows(x, attributes)
        lowest = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
        taps = windows.taps(windows.padded(x, lowest))
        result = next(taps).copy()
        for tap in taps:
            np.maximum(result, tap, out=result)
        return (result,)


class AveragePool(OpRun):  # type: ignore[misc]
    """Mean over windows; the overhang of ``ceil_mode`` never counts."""

    op_domain = ""

    def _run(self, x: Array, count_include_pad: int | None = None, **attributes: Any) -> tuple[Array]:
        windows = _pool_windows(x, attributes)
        taps = windows.taps(windows.padded(x, 0.0))
        result = next(taps).copy()
        for tap in taps:
            result += tap
        return (result / windows.valid_taps(x.shape[2:], count_pads=bool(count_include_pad)),)


def _pool_windows(x: Array, attributes: dict[str, Any]) -> Windows:
    keys = ("strides", "dilations", "pads", "auto_pad", "ceil_mode")
    return Windows.of(x.shape[2:], attributes["kernel_shape"], *(attributes.get(key) for key in keys))


class LRN(OpRun):  # type: ignore[misc]
    """Division by a power of the neighbouring channels' mean square; ONNX's own skips most channels."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        alpha: float | None = None,
        beta: float | None = None,
        bias: float | None = None,
        size: int | None = None,
    ) -> tuple[Array]:
        assert alpha is not None and beta is not None and bias is not None and size
        channels = x.shape[1]
        sums = np.concatenate([np.zeros_like(x[:, :1]), np.cumsum(x**2, axis=1)], axis=1)
        index = np.arange(channels)
        first = np.maximum(0, index - (size - 1) // 2)
        after = np.minimum(channels, index + -(-(size - 1) // 2) + 1)
        squares = sums[:, after] - sums[:, first]
        return (x / (bias + alpha / size * squares) ** beta,)


OPERATORS = [Conv, ConvTranspose, MaxPool, AveragePool, LRN, MeanVarianceNormalization]
