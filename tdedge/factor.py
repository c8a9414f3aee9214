"""A factor: one linear convolution with its geometry, the element of every chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tdedge.errors import UsageError

Array = NDArray[np.floating]
Shape = tuple[int, ...]

#: Activations a factor may carry after it; an inner one makes the link *activated* (NTT).
ACTIVATIONS = ("relu", "relu6", "sigmoid", "tanh")


@dataclass(frozen=True, eq=False)
class Factor:
    """One linear convolution, optionally followed by an activation.

    Attributes:
        kernel: (C_out, C_in/groups, *k), k with 0 (Linear), 1, 2 or 3 axes.
        stride: one positive integer per spatial axis; 1 where not given.
        pads: (begin, end) zeros per spatial axis; 0 where not given.
        dilation: one positive integer per spatial axis; 1 where not given.
        groups: C_in and C_out are split into this many independent blocks.
        bias: (C_out,) or None.
        activation: one of :data:`ACTIVATIONS`, or None.

    Raises:
        UsageError: when the attributes do not fit each other.
    """

    kernel: Array
    stride: Shape = ()
    pads: tuple[tuple[int, int], ...] = ()
    dilation: Shape = ()
    groups: int = 1
    bias: Array | None = None
    activation: str | None = None

    def __post_init__(self) -> None:
        kernel = _frozen(self.kernel)
        axes = kernel.ndim - 2
        if not 0 <= axes <= 3:
            raise UsageError(
                f"kernel of shape {kernel.shape} has {kernel.ndim} axes; expected (C_out, C_in, *k) "
                "with 0 to 3 spatial axes"
            )
        if 0 in kernel.shape:
            raise UsageError(f"kernel of shape {kernel.shape} is empty; every axis needs an element")
        set_ = object.__setattr__
        set_(self, "kernel", kernel)
        set_(self, "stride", _per_axis("stride", self.stride, axes, 1))
        set_(self, "dilation", _per_axis("dilation", self.dilation, axes, 1))
        set_(self, "pads", tuple((int(b), int(e)) for b, e in self.pads) or ((0, 0),) * axes)
        if len(self.pads) != axes or min((min(p) for p in self.pads), default=0) < 0:
            raise UsageError(f"pads {self.pads} must be {axes} pairs of non-negative integers")
        if self.groups < 1 or kernel.shape[0] % self.groups:
            raise UsageError(f"groups {self.groups} does not divide {kernel.shape[0]} output channels")
        if self.bias is not None:
            set_(self, "bias", _frozen(self.bias))
            if self.bias.shape != (kernel.shape[0],):
                raise UsageError(f"bias of shape {self.bias.shape}; expected ({kernel.shape[0]},)")
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise UsageError(f"activation {self.activation!r}; expected one of {ACTIVATIONS} or None")

    @property
    def out_channels(self) -> int:
        """C_out."""
        return int(self.kernel.shape[0])

    @property
    def in_channels(self) -> int:
        """C_in, over all groups."""
        return int(self.kernel.shape[1]) * self.groups

    @property
    def kernel_size(self) -> Shape:
        """Taps per spatial axis; empty for a Linear layer."""
        return tuple(int(k) for k in self.kernel.shape[2:])

    @property
    def spatial_rank(self) -> int:
        """Number of spatial axes: 0 (Linear) to 3."""
        return self.kernel.ndim - 2

    @property
    def is_pointwise(self) -> bool:
        """True where an output position reads one input position, at stride 1 and without padding."""
        return math.prod(self.kernel_size) == 1 and set(self.stride) <= {1} and not any(map(any, self.pads))

    @property
    def is_depthwise(self) -> bool:
        """True where every channel is convolved alone."""
        return self.groups == self.in_channels == self.out_channels > 1

    @property
    def params(self) -> int:
        """Number of stored weights, bias included."""
        return int(self.kernel.size) + (0 if self.bias is None else int(self.bias.size))

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Shape of the output for an input of shape (N, C_in, *spatial); Linear: (..., C_in).

        Raises:
            UsageError: when the input does not fit the factor.
        """
        lead, spatial = _split(input_shape, self)
        sizes = []
        for axis, size in enumerate(spatial):
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            room = size + sum(self.pads[axis]) - reach
            if room < 0:
                raise UsageError(
                    f"input {tuple(input_shape)} is too small for a kernel reaching {reach} "
                    f"on spatial axis {axis} with pads {self.pads[axis]}"
                )
            sizes.append(room // self.stride[axis] + 1)
        return (*lead, self.out_channels, *sizes)

    def macs(self, input_shape: Sequence[int]) -> int:
        """Multiply-accumulates for one input of this shape; zero padding counts, bias does not."""
        return math.prod(self.output_shape(input_shape)) * int(self.kernel[0].size)

    def flops(self, input_shape: Sequence[int]) -> int:
        """Additions and multiplications: ``2n - 1`` per output of ``n`` products, one for the bias.

        Source: the counting rule of Rasmussen et al. 2022 (arXiv 2203.07033).
        """
        outputs = math.prod(self.output_shape(input_shape))
        return 2 * self.macs(input_shape) - (outputs if self.bias is None else 0)

    def astype(self, dtype: np.dtype | type) -> Factor:
        """The same factor with kernel and bias in ``dtype``."""
        bias = None if self.bias is None else self.bias.astype(dtype)
        return replace(self, kernel=self.kernel.astype(dtype), bias=bias)


def _frozen(array: ArrayLike) -> Array:
    """A read-only view, so that a factor can be shared without being changed."""
    view: Array = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _per_axis(name: str, values: Sequence[int], axes: int, default: int) -> Shape:
    result = tuple(int(value) for value in values) or (default,) * axes
    if len(result) != axes or min(result, default=1) < 1:
        raise UsageError(f"{name} {tuple(values)} must be {axes} positive integers")
    return result


def _split(input_shape: Sequence[int], factor: Factor) -> tuple[Shape, Shape]:
    """Leading axes and spatial axes of an input shape; checks the channel count between them."""
    shape = tuple(int(size) for size in input_shape)
    channel_axis = len(shape) - 1 - factor.spatial_rank
    expected_lead = channel_axis >= 0 if factor.spatial_rank == 0 else channel_axis == 1
    if not expected_lead or shape[channel_axis] != factor.in_channels:
        raise UsageError(
            f"input shape {shape} does not fit a factor of {factor.in_channels} input channels "
            f"and {factor.spatial_rank} spatial axes"
        )
    return shape[:channel_axis], shape[channel_axis + 1 :]
