"""How a tensor of a network may be stored between two forms.

    native   (N, C, *spatial), as ONNX has it
    frames   (T, C, H, W), for the one clip (1, C, T, H, W): every 2-D operator then applies frame by frame
    last     (N, *spatial, C), channels last
    apart    T tensors (1, C, H, W), for the one clip (1, C, T, H, W): a :class:`~.clips.Clip`

A form reads and leaves *labels*: a layout, and the number of zero channels that pad a rank to the runtime's
lanes. Zero channels exist only between two factors of a chain, which both know of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import onnx_ir as ir

from tdedge.factor import Shape
from tdedge_exporters.planner.clips import Clip, split
from tdedge_exporters.planner.emitter import Emitter


class Layout(StrEnum):
    """Axis order of a stored tensor."""

    NATIVE = "native"
    FRAMES = "frames"
    LAST = "last"
    APART = "apart"


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


NATIVE, FRAMES, LAST, APART = (Label(layout) for layout in Layout)


def layouts_of(shape: Sequence[int]) -> tuple[Layout, ...]:
    """Layouts a value of this logical shape can have, native first."""
    if len(shape) < 3:
        return (Layout.NATIVE,)
    clips = (Layout.FRAMES, Layout.APART) if len(shape) == 5 and shape[0] == 1 else ()
    return (Layout.NATIVE, *clips, Layout.LAST)


def stored(shape: Sequence[int], label: Label) -> Shape:
    """Shape in memory of a value of this logical shape; frames apart have that of frames together."""
    batch, channels, *spatial = shape
    channels += label.zeros
    if label.layout in (Layout.FRAMES, Layout.APART):
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
    if here is Layout.APART:
        return _together(e, value, full, there)
    if there is Layout.APART:
        return _apart(e, value, full, here)
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


def _together(e: Emitter, clip: ir.Value, full: Shape, there: Layout) -> ir.Value:
    """Frames apart joined along the axis that time has in another layout."""
    assert isinstance(clip, Clip)
    _, channels, _, height, width = full
    if there is Layout.FRAMES:
        return e.concat(clip.frames, 0)
    if there is Layout.NATIVE:
        return e.concat([e.reshape(each, (1, channels, 1, height, width)) for each in clip.frames], 2)
    last = [e.transpose(each, (0, 2, 3, 1)) for each in clip.frames]
    return e.concat([e.reshape(each, (1, 1, height, width, channels)) for each in last], 1)


def _apart(e: Emitter, value: ir.Value, full: Shape, here: Layout) -> Clip:
    """A stored clip cut along its time axis."""
    _, channels, _, height, width = full
    if here is Layout.FRAMES:
        return Clip(split(e, value, 0))
    if here is Layout.NATIVE:
        return Clip([e.reshape(each, (1, channels, height, width)) for each in split(e, value, 2)])
    last = [e.reshape(each, (1, height, width, channels)) for each in split(e, value, 1)]
    return Clip([e.transpose(each, (0, 3, 1, 2)) for each in last])
