"""One axis of a sliding window (convolution or pooling), and which of the format's two paddings fits.

``SAME`` pads ``total = max((ceil(size/stride) - 1)*stride + reach - size, 0)`` zeros, the smaller half
first; ``VALID`` pads none (source: TensorFlow's documentation of ``tf.nn.convolution``). Pads that no
window reaches do not count: what matters is the begin pad and the number of positions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Geometry along one axis.

    Attributes:
        size: of the input.
        taps: of the window.
        stride: between positions.
        dilation: between taps.
        pads: (begin, end) as ONNX has them.
        out: number of positions.
    """

    size: int
    taps: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    out: int

    @classmethod
    def single(cls, size: int = 1) -> Axis:
        """An axis along which nothing happens."""
        return cls(size, 1, 1, 1, (0, 0), size)

    @property
    def reach(self) -> int:
        """Distance from the first tap to the last, both counted."""
        return self.dilation * (self.taps - 1) + 1


def effective_pads(axis: Axis) -> tuple[int, int]:
    """(begin, end) pads that windows really read; end pads may exceed ONNX's own in ceiling mode."""
    begin = axis.pads[0]
    end = max((axis.out - 1) * axis.stride + axis.reach - axis.size - begin, 0)
    return begin, end


def is_same(*axes: Axis) -> bool:
    """True where ``SAME`` pads every axis just so."""
    return all(_same_pads(axis) == effective_pads(axis) and _same_out(axis) for axis in axes)


def is_valid(*axes: Axis) -> bool:
    """True where no window reads a pad and ``VALID`` has as many positions."""
    return all(
        effective_pads(axis) == (0, 0) and axis.out == (axis.size - axis.reach) // axis.stride + 1
        for axis in axes
    )


def _same_out(axis: Axis) -> bool:
    return axis.out == -(-axis.size // axis.stride)


def _same_pads(axis: Axis) -> tuple[int, int]:
    total = max((-(-axis.size // axis.stride) - 1) * axis.stride + axis.reach - axis.size, 0)
    return total // 2, total - total // 2
