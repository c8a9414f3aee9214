"""The grids that numbers are rounded to: 8-bit integers and what they stand for.

    activations   real = (q - zero_point) * scale,   q in 0 .. 255      one grid per tensor
    weights       real = q * scale[c],               q in -127 .. 127   one scale per output channel c
    biases        real = q * (scale of the input * scale[c]),  q of 32 bits

Zero is always on the grid, so that padding and ReLU are exact. (Source: ONNX operators ``QuantizeLinear`` and
``DequantizeLinear``; Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", arXiv 1712.05877.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Integers of an activation, and of a weight.
LEVELS = 255
WEIGHT_LEVELS = 127
#: Narrower ranges than this hold nothing but rounding.
_NARROWEST = 1e-7


@dataclass(frozen=True)
class Grid:
    """The grid of an activation: ``real = (q - zero_point) * scale``, q in 0 .. 255.

    Attributes:
        scale: distance of two neighbours, a float32 number.
        zero_point: the integer that stands for 0.
    """

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Grid:
        """The finest grid that reaches from ``low`` to ``high``, widened to hold 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32(max(high - low, _NARROWEST) / LEVELS))
        return cls(scale, int(np.clip(np.rint(-low / scale), 0, LEVELS)))

    @property
    def low(self) -> float:
        """The smallest number on the grid."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """The largest."""
        return (LEVELS - self.zero_point) * self.scale

    def quantise(self, array: Array) -> NDArray[np.uint8]:
        """The integers nearest to ``array``; what lies outside is cut off."""
        levels: Array = np.clip(np.rint(array / self.scale) + self.zero_point, 0, LEVELS)
        return levels.astype(np.uint8)

    def round(self, array: Array) -> Array:
        """``array`` on the grid, in its own type."""
        return ((self.quantise(array).astype(np.float64) - self.zero_point) * self.scale).astype(array.dtype)


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """The grid of a weight, symmetric: ``real = q * scales[c]``, q in -127 .. 127.

    Attributes:
        scales: (C,) float32, one per output channel.
        axis: of the output channels.
    """

    scales: NDArray[np.float32]
    axis: int

    @classmethod
    def of(cls, weight: Array, axis: int) -> WeightGrid:
        """The finest grid that holds the largest weight of every channel."""
        others = tuple(each for each in range(weight.ndim) if each != axis)
        largest = np.abs(weight).max(axis=others, initial=0.0)
        return cls((np.maximum(largest, _NARROWEST) / WEIGHT_LEVELS).astype(np.float32), axis)

    def spread(self, ndim: int) -> Array:
        """``scales`` with axes of 1, to be multiplied with a weight of ``ndim`` axes."""
        return self.scales.reshape([-1 if axis == self.axis else 1 for axis in range(ndim)])

    def quantise(self, weight: Array) -> NDArray[np.int8]:
        """The integers nearest to ``weight``."""
        levels = np.rint(weight / self.spread(weight.ndim))
        return np.clip(levels, -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8)

    def round(self, weight: Array) -> Array:
        """``weight`` on the grid, in its own type."""
        return (self.quantise(weight) * self.spread(weight.ndim)).astype(weight.dtype)


@dataclass
class Grids:
    """What of a graph is quantised, and how.

    Attributes:
        activations: name of a value -> its grid.
        weights: name of an initializer that is the weight of a product -> its grid.
        edges: outputs of the graph that stay float32 and yet have a grid in ``activations``: what a runtime
            that has no float outputs may use.
    """

    activations: dict[str, Grid] = field(default_factory=dict)
    weights: dict[str, WeightGrid] = field(default_factory=dict)
    edges: set[str] = field(default_factory=set)
