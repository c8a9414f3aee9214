"""Two factors as one, exactly.

Per spatial axis, let ``first`` have kernel size ``k1``, stride ``s1``, dilation ``d1``, pads
``(p1, q1)`` and ``second`` ``k2, s2, d2, (p2, q2)``. Output ``o`` of the pair reads the input at::

    s1*s2*o + (d1*i + s1*d2*j) - (p1 + s1*p2)        i < k1, j < k2

which is one convolution of stride ``s1*s2``, pads ``(p1 + s1*p2, q1 + s1*q2)`` and taps at
``d1*i + s1*d2*j``. It equals the pair exactly when nothing is lost at the border and on the link:

1. the link is linear: ``first`` has no activation;
2. ``second`` does not pad an axis along which ``first`` extends (``k1 > 1``): its zeros would stand
   where the composed kernel reads real input;
3. ``second`` pads nothing at all, or ``first`` has no bias: the bias would leak through the padding.

The output size agrees for every input size, because
``floor((floor(a / s1) + b) / s2) == floor((a + s1*b) / (s1*s2))`` for integers.

Groups: factors with ``g1`` and ``g2`` groups are both block-diagonal in ``gcd(g1, g2)`` blocks, and so is
their product. (Source: the definition of convolution in the ONNX operator specification, ``Conv``.)
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from tdedge.errors import UsageError
from tdedge.factor import Array, Factor, Shape


class NotExactError(UsageError):
    """Factors cannot be merged exactly; the message is the reason."""


def compose(first: Factor, second: Factor) -> Factor:
    """One factor equal to ``second(first(x))`` for every input; the algebra is in the module's text.

    Raises:
        NotExactError: with the condition that does not hold.
    """
    _require_exact(first, second)
    groups = math.gcd(first.groups, second.groups)
    grid = tuple(_grid(first, second, axis) for axis in range(first.spatial_rank))
    kernel = _compose_kernels(first, second, groups, grid)
    bias = second.bias
    if first.bias is not None:
        taps = _coarser(second.kernel, second.groups, groups).sum(axis=tuple(range(3, 3 + len(grid))))
        leaked = np.einsum("gtm,gm->gt", taps, first.bias.reshape(groups, -1)).reshape(-1)
        bias = leaked if bias is None else bias + leaked
    return Factor(
        kernel=kernel,
        stride=tuple(a * b for a, b in zip(first.stride, second.stride, strict=True)),
        pads=tuple(
            (p1 + s1 * p2, q1 + s1 * q2)
            for (p1, q1), (p2, q2), s1 in zip(first.pads, second.pads, first.stride, strict=True)
        ),
        dilation=grid,
        groups=groups,
        bias=bias,
        activation=second.activation,
    )


def _require_exact(first: Factor, second: Factor) -> None:
    """Raise NotExactError where composing would change any output."""
    if first.spatial_rank != second.spatial_rank or first.out_channels != second.in_channels:
        raise NotExactError(
            f"{first.kernel.shape} and {second.kernel.shape} (groups {first.groups}, {second.groups}) "
            "are no neighbours"
        )
    if first.activation is not None:
        raise NotExactError(f"the link carries an activation ({first.activation})")
    if first.bias is not None and any(map(any, second.pads)):
        raise NotExactError(f"the first factor's bias would leak through the second's padding {second.pads}")
    for axis, size in enumerate(first.kernel_size):
        if size > 1 and any(second.pads[axis]):
            raise NotExactError(
                f"the second factor pads spatial axis {axis} by {second.pads[axis]}, "
                f"along which the first has {size} taps"
            )


def _grid(first: Factor, second: Factor, axis: int) -> int:
    """Dilation of the composed kernel: the largest step that meets every tap."""
    steps = []
    if first.kernel_size[axis] > 1:
        steps.append(first.dilation[axis])
    if second.kernel_size[axis] > 1:
        steps.append(first.stride[axis] * second.dilation[axis])
    return math.gcd(*steps) or 1


def _compose_kernels(first: Factor, second: Factor, groups: int, grid: Shape) -> Array:
    """Kernel of the composition on the tap grid, accumulated over the second kernel's taps."""
    outer = _coarser(second.kernel, second.groups, groups)
    inner = _coarser(first.kernel, first.groups, groups)
    steps = tuple(
        (d1 // g if k1 > 1 else 1, s1 * d2 // g if k2 > 1 else 1)
        for d1, s1, d2, g, k1, k2 in zip(
            first.dilation,
            first.stride,
            second.dilation,
            grid,
            first.kernel_size,
            second.kernel_size,
            strict=True,
        )
    )
    size = tuple(
        a * (k1 - 1) + b * (k2 - 1) + 1
        for (a, b), k1, k2 in zip(steps, first.kernel_size, second.kernel_size, strict=True)
    )
    kernel = np.zeros((groups, outer.shape[1], inner.shape[2], *size), np.result_type(outer, inner))
    for tap in product(*map(range, second.kernel_size)):
        slices = (
            slice(b * j, b * j + a * (k1 - 1) + 1, a)
            for (a, b), j, k1 in zip(steps, tap, first.kernel_size, strict=True)
        )
        window: tuple[Any, ...] = (..., *slices)
        column: tuple[Any, ...] = (..., *tap)
        kernel[window] += np.einsum("gtm,gms...->gts...", outer[column], inner, optimize=True)
    return kernel.reshape(-1, *kernel.shape[2:])


def _coarser(kernel: Array, groups: int, coarse: int) -> Array:
    """Kernel (C_out, C_in/groups, *k) as (coarse, C_out/coarse, C_in/coarse, *k), zeros between groups."""
    per = groups // coarse
    out, into, *taps = kernel.shape
    blocks = kernel.reshape(coarse, per, out // groups, into, *taps)
    wide = np.zeros((coarse, per, out // groups, per, into, *taps), kernel.dtype)
    diagonal = np.arange(per)
    wide[:, diagonal, :, diagonal] = np.moveaxis(blocks, 1, 0)
    return wide.reshape(coarse, per * (out // groups), per * into, *taps)
