"""Memory order of a tensor: the one fact that layout assignment decides.

A value of the network has a *logical* shape, the one ONNX gives it. Read in row-major order and cut into
``(n, c, s)``, its elements may be stored as they are (*first*: channels before space) or as ``(n, s, c)``
(channels *last*). Nothing else is needed: whatever the rank, the file's tensor may then have any shape with
the same number of elements, and every change of shape that keeps the memory is a free ``RESHAPE``. So a
video activation ``(N, C, T, H, W)`` stored channels-last is ``(N*T, H, W, C)`` to a spatial convolution and
``(N, T, H*W, C)`` to a temporal one without a copy, and no tensor of rank 5 is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Order:
    """Elements cut into ``(n, c, s)`` and stored as ``(n, s, c)``; make one with :func:`order`."""

    n: int
    c: int
    s: int


#: Stored as ONNX has it.
FIRST = Order(1, 1, 1)


def order(n: int, c: int, s: int) -> Order:
    """The order that stores ``(n, c, s)`` as ``(n, s, c)``; ``FIRST`` where that moves nothing."""
    return FIRST if c == 1 or s == 1 else Order(n, c, s)


def natural(shape: Sequence[int]) -> Order:
    """Channels-last for a tensor whose axis 1 is the channel; ``FIRST`` below rank 3."""
    if len(shape) < 3:
        return FIRST
    return order(shape[0], shape[1], math.prod(shape[2:]))


def bounds(shape: Sequence[int], of: Order) -> tuple[int, int] | None:
    """Where the axes of ``c`` begin and end in ``shape``; None where the cut falls inside an axis."""
    if of == FIRST:
        return 0, 0
    begins = [i for i in range(len(shape)) if math.prod(shape[:i]) == of.n]
    for begin in reversed(begins):
        for end in range(begin + 1, len(shape) + 1):
            if math.prod(shape[begin:end]) == of.c and math.prod(shape[end:]) == of.s:
                return begin, end
    return None


def axes(shape: Sequence[int], of: Order) -> Shape | None:
    """Logical axes in the order they are stored; None where the cut falls inside an axis."""
    cut = bounds(shape, of)
    if cut is None:
        return None
    begin, end = cut
    every = tuple(range(len(shape)))
    return every[:begin] + every[end:] + every[begin:end] if of != FIRST else every


def stored_shape(shape: Sequence[int], of: Order) -> Shape:
    """Shape of the stored tensor, axis by axis where the axes allow it and ``(n, s, c)`` otherwise."""
    permutation = axes(shape, of)
    if permutation is None:
        return of.n, of.s, of.c
    return tuple(shape[axis] for axis in permutation)
