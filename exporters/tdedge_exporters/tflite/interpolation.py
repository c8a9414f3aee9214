"""One axis of ONNX's ``Resize``: where each result lies on the input, and which elements it is made of.

All modes are separable and affine, so an axis is a coordinate per result, from which follow

* for ``nearest`` an index per result,
* for ``linear`` and ``cubic`` a matrix: with ``k`` the hat function or Keys' cubic one, the weight of
  element ``i`` is ``k((i - x)*s)``; ``s = min(scale, 1)`` stretches the filter with ``antialias`` (weights
  then sum to 1 by division) and is 1 without. Elements beyond the ends are the end elements, or count
  nothing with ``exclude_outside`` (the other weights then sum to 1 by division).

Source: the ONNX operator specification of ``Resize``, versions 10 to 19.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tdedge_exporters.tflite.program import Array


@dataclass(frozen=True)
class Filter:
    """Attributes that all axes of a ``Resize`` share; names and values are ONNX's."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    extrapolation_value: float = 0.0


@dataclass(frozen=True)
class Resized:
    """One axis.

    Attributes:
        size: of the input.
        out: of the result.
        scale: of the result to the input; need not be ``out/size``.
        roi: (begin, end) of the region of ``tf_crop_and_resize``, as shares of the axis.
    """

    size: int
    out: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def is_still(self) -> bool:
        """True where nothing happens along this axis."""
        return self.out == self.size and math.isclose(self.scale, 1.0) and self.roi == (0.0, 1.0)


def coordinates(axis: Resized, mode: str) -> Array:
    """Where each result lies on the input: ``(out,)``.

    Raises:
        KeyError: for a mode that is none of ONNX's.
    """
    at = np.arange(axis.out, dtype=np.float64)
    length = axis.scale * axis.size
    last = axis.size - 1
    if mode == "tf_crop_and_resize":
        begin, end = axis.roi
        inside = at * (end - begin) * last / (length - 1) if length != 1 else (end - begin) * last / 2
        return np.asarray(inside + begin * last + np.zeros(axis.out))
    if mode == "align_corners":
        return at * last / (length - 1) if length != 1 else np.zeros(axis.out)
    if mode == "pytorch_half_pixel" and axis.out == 1:
        return np.zeros(1)
    centred = (at + 0.5) / axis.scale - 0.5
    return {
        "asymmetric": at / axis.scale,
        "half_pixel": centred,
        "pytorch_half_pixel": centred,
        "half_pixel_symmetric": axis.size / 2 * (1 - axis.out / length) + centred,
    }[mode]


def is_outside(axis: Resized, how: Filter) -> Array:
    """Results that are the extrapolation value: ``(out,)``."""
    if how.coordinates != "tf_crop_and_resize":
        return np.zeros(axis.out, bool)
    x = coordinates(axis, how.coordinates)
    return np.asarray((x < 0) | (x > axis.size - 1))


def nearest(axis: Resized, how: Filter) -> Array:
    """The element each result is, with mode ``nearest``: ``(out,)``.

    Raises:
        KeyError: for a ``nearest_mode`` that is none of ONNX's.
    """
    x = coordinates(axis, how.coordinates)
    low = np.floor(x)
    part = x - low
    up = {
        "round_prefer_floor": part > 0.5,
        "round_prefer_ceil": part >= 0.5,
        "floor": np.zeros(axis.out, bool),
        "ceil": part > 0,
    }[how.nearest_mode]
    index: Array = (low + up).clip(0, axis.size - 1).astype(int)
    return index


def matrix(axis: Resized, how: Filter) -> Array:
    """The weight of every element in every result: ``(out, size)``; rows outside the input are 0."""
    weights = np.zeros((axis.out, axis.size))
    rows = np.arange(axis.out)[:, None]
    if how.mode == "nearest":
        weights[rows, nearest(axis, how)[:, None]] = 1
    else:
        x = coordinates(axis, how.coordinates)[:, None]
        stretch = min(axis.scale, 1.0) if how.antialias else 1.0
        radius = math.ceil((1 if how.mode == "linear" else 2) / stretch) + 1
        index = np.floor(x) + np.arange(-radius, radius + 1)
        part = _kernel((index - x) * stretch, how)
        if how.antialias:
            part /= part.sum(1, keepdims=True)
        if how.exclude_outside:
            part = np.where((index >= 0) & (index < axis.size), part, 0)
            part /= part.sum(1, keepdims=True)
        np.add.at(weights, (rows, index.clip(0, axis.size - 1).astype(int)), part)
    weights[is_outside(axis, how)] = 0
    return weights


def _kernel(distance: Array, how: Filter) -> Array:
    d = np.abs(distance)
    if how.mode == "linear":
        return np.asarray(np.maximum(1 - d, 0))
    a = how.cubic_coeff_a
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
