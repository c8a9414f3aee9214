"""A clip whose frames are tensors of their own: what the layout ``apart`` stores.

One frame of a feature map often fits a core's cache where the clip does not, and what one time tap adds to
another needs no copies when frames are named one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from tdedge_exporters.planner.emitter import Emitter, shape_of


class Clip(ir.Value):
    """Frames (1, C, H, W) that stand for one value (T, C, H, W); no node reads or gives the clip itself.

    Attributes:
        frames: in order.
    """

    def __init__(self, frames: Sequence[ir.Value]) -> None:
        first = frames[0]
        super().__init__(
            name=first.name, type=first.type, shape=ir.Shape((len(frames), *shape_of(first)[1:]))
        )
        self.frames = tuple(frames)


def split(e: Emitter, value: ir.Value, axis: int) -> list[ir.Value]:
    """``value`` cut into slices of extent 1 along ``axis``."""
    sizes = list(shape_of(value))
    count, sizes[axis] = sizes[axis], 1
    if count == 1:
        return [value]
    return e.ops("Split", [value, e.integers([1] * count)], [sizes] * count, axis=axis)


def frame_by_frame(make: Callable[..., ir.Value], *values: ir.Value) -> ir.Value:
    """``make`` of every frame where the values are clips, of the values themselves where they are not."""
    clips = [value.frames for value in values if isinstance(value, Clip)]
    assert len(clips) in (0, len(values)), "either all are clips, or none is"
    return Clip([make(*each) for each in zip(*clips, strict=True)]) if clips else make(*values)
