"""How a tensor of a network may be stored between two forms.

    native   (N, C, *spatial), as ONNX has it
    frames   (T, C, H, W), for the one clip (1, C, T, H, W): every 2-D operator then applies frame by frame
    last     (N, *spatial, C), channels last

A form reads and leaves *labels*: a layout, and the number of zero channels that pad a rank to the runtime's
lanes. Zero channels exist only between two factors of a chain, which both know of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import onnx_ir as ir

from tdedge.factor import Shape
from tdedge_exporters.planner.emitter import Emitter


class Layout(StrEnum):
    """Axis order of a stored tensor."""

    NATIVE = "native"
    FRAMES = "frames"
    LAST = "last"


@dataclass(frozen=True, order=True)
class Label:
    """How a value is stored.

    Attributes:
        layout: axis order.
        zeros: channels of zeros after the value's own.
    """

    layout: Layout = Layout.NATIVE
    zeros: int = 0

    def __str__(self) -> str:
        return f"{self.layout}+{self.zeros}" if self.zeros else str(self.layout)

    @classmethod
    def parse(cls, text: str) -> Label:
        """The inverse of ``str``."""
        layout, _, zeros = text.partition("+")
        return cls(Layout(layout), int(zeros or 0))


NATIVE, FRAMES, LAST = (Label(layout) for layout in Layout)


def layouts_of(shape: Sequence[int]) -> tuple[Layout, ...]:
    """Layouts a value of this logical shape can have, native first."""
    if len(shape) < 3:
        return (Layout.NATIVE,)
    frames = (Layout.FRAMES,) if len(shape) == 5 and shape[0] == 1 else ()
    return (Layout.NATIVE, *frames, Layout.LAST)


def stored(shape: Sequence[int], label: Label) -> Shape:
    """Shape in memory of a value of this logical shape."""
    batch, channels, *spatial = shape
    channels += label.zeros
    if label.layout is Layout.FRAMES:
        return (spatial[0], channels, *spatial[1:])
    if label.layout is Layout.LAST:
        return (batch, *spatial, channels)
    return (batch, channels, *spatial) if label.zeros else tuple(shape)


def convert(e: Emitter, value: ir.Value, shape: Sequence[int], source: Label, target: Label) -> ir.Value:
    """``value``, stored as ``source``, stored as ``target``; both have the same zero channels."""
    assert source.zeros == target.zeros
    if source == target:
        return value
    full = stored(shape, Label(Layout.NATIVE, source.zeros))
    rank = len(full)
    here, there = source.layout, target.layout
    if Layout.FRAMES not in (here, there):
        return e.transpose(
            value, (0, rank - 1, *range(1, rank - 1)) if here is Layout.LAST else (0, *range(2, rank), 1)
        )
    clip = full[1:]
    if here is Layout.FRAMES:
        # (T, C, H, W) -> (C, T, H, W) or (T, H, W, C)
        moved = e.transpose(value, (1, 0, 2, 3) if there is Layout.NATIVE else (0, 2, 3, 1))
        return e.reshape(moved, stored(shape, target))
    if here is Layout.NATIVE:
        return e.transpose(e.reshape(value, clip), (1, 0, 2, 3))
    return e.transpose(e.reshape(value, (*clip[1:], clip[0])), (0, 3, 1, 2))
