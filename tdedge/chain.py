"""Factor chains: the one data type the whole project passes around.

A **factor** is one linear convolution ``y = act(W * x + b)``; a Linear layer is a factor with no spatial
axes. A **chain** is a tuple of factors applied in order. A decomposition produces a chain, a torch layer
is built from one, an ONNX graph is searched for them, each runtime's lowering emits them.

:mod:`tdedge.compose` states when two neighbours are exactly one factor, :mod:`tdedge.branches` when
parallel chains are exactly one chain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

import numpy as np

from tdedge.compose import compose
from tdedge.errors import UsageError
from tdedge.factor import ACTIVATIONS, Array, Factor, Shape

__all__ = ["ACTIVATIONS", "Array", "Chain", "Factor", "Shape", "compose"]


@dataclass(frozen=True, eq=False)
class Chain:
    """Factors applied in order.

    Attributes:
        factors: at least one; neighbours agree in channels and in the number of spatial axes.
        format: name of the decomposition that made it (``"tucker"``), or "" where unknown.

    Raises:
        UsageError: when neighbours do not fit each other.
    """

    factors: tuple[Factor, ...]
    format: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        if not self.factors:
            raise UsageError("a chain needs at least one factor")
        for index, (first, second) in enumerate(self.links()):
            if first.out_channels != second.in_channels:
                raise UsageError(
                    f"factor {index} gives {first.out_channels} channels, "
                    f"factor {index + 1} takes {second.in_channels}"
                )
            if first.spatial_rank != second.spatial_rank:
                raise UsageError(
                    f"factor {index} has {first.spatial_rank} spatial axes, "
                    f"factor {index + 1} has {second.spatial_rank}"
                )

    def __len__(self) -> int:
        return len(self.factors)

    def __iter__(self) -> Iterator[Factor]:
        return iter(self.factors)

    def links(self) -> Iterator[tuple[Factor, Factor]]:
        """Neighbouring factors, in order."""
        return pairwise(self.factors)

    @property
    def in_channels(self) -> int:
        """C_in of the first factor."""
        return self.factors[0].in_channels

    @property
    def out_channels(self) -> int:
        """C_out of the last factor."""
        return self.factors[-1].out_channels

    @property
    def ranks(self) -> Shape:
        """Channels on the inner links, in order."""
        return tuple(factor.out_channels for factor in self.factors[:-1])

    @property
    def is_linear(self) -> bool:
        """True where no inner link carries an activation."""
        return all(factor.activation is None for factor in self.factors[:-1])

    @property
    def params(self) -> int:
        """Number of stored weights, biases included."""
        return sum(factor.params for factor in self.factors)

    def shapes(self, input_shape: Sequence[int]) -> list[Shape]:
        """Shapes of the input and of every factor's output."""
        shapes = [tuple(int(size) for size in input_shape)]
        for factor in self.factors:
            shapes.append(factor.output_shape(shapes[-1]))
        return shapes

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Shape of the output for an input of shape (N, C_in, *spatial)."""
        return self.shapes(input_shape)[-1]

    def macs(self, input_shape: Sequence[int]) -> int:
        """Multiply-accumulates, each factor at its own output size."""
        return sum(f.macs(s) for f, s in zip(self.factors, self.shapes(input_shape), strict=False))

    def flops(self, input_shape: Sequence[int]) -> int:
        """Additions and multiplications; see :meth:`Factor.flops`."""
        return sum(f.flops(s) for f, s in zip(self.factors, self.shapes(input_shape), strict=False))

    def peak_activation_bytes(self, input_shape: Sequence[int], itemsize: int = 4) -> int:
        """Largest sum of one factor's input and output, in bytes."""
        elements = [math.prod(shape) for shape in self.shapes(input_shape)]
        return itemsize * max(a + b for a, b in pairwise(elements))

    def segment(self, start: int, stop: int) -> Factor:
        """Factors ``start`` to ``stop - 1`` composed into one.

        Raises:
            NotExactError: when they cannot be composed exactly.
        """
        return reduce(compose, self.factors[start:stop])

    def dense(self) -> Factor:
        """The whole chain as one factor, with its geometry, bias and last activation.

        Raises:
            NotExactError: when a link is activated or the composition is not exact.
        """
        return self.segment(0, len(self))

    def reconstruct(self) -> Array:
        """The dense kernel (C_out, C_in/groups, *k) of a linear chain.

        Raises:
            NotExactError: when a link is activated or the composition is not exact.
        """
        return self.dense().kernel

    def relative_error(self, dense: Factor) -> float:
        """``|W - reconstruct()| / |W|`` in the Frobenius norm, for a linear chain of ``dense``."""
        target = dense.kernel.astype(np.float64)
        gap = target - self.astype(np.float64).reconstruct()
        return float(np.linalg.norm(gap) / (np.linalg.norm(target) or 1.0))

    def astype(self, dtype: np.dtype | type) -> Chain:
        """The same chain with every kernel and bias in ``dtype``."""
        return replace(self, factors=tuple(factor.astype(dtype) for factor in self.factors))
