"""What all formats share: the steps of a chain, groups, ranks, and initialisation from scratch.

A format says which steps its chain has for given ranks and how their kernels are fitted to one group of a
dense kernel. This module does the rest, once:

- every group of a grouped layer is decomposed on its own, at the same ranks; the kernels are stacked along
  C_out and the groups multiplied, which is exact because groups do not mix;
- stride, pads and dilation of a spatial axis go to the one step that owns this axis; every other step has
  one tap, stride 1 and no padding there;
- the dense bias and activation go to the last factor;
- fitting is done in float64, kernels are returned in the dense kernel's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.factor import Array, Factor, Shape

#: Kernels of one group, one per step, each (C_out, C_in/groups, *taps of the owned axes).
Fit = Callable[[Array], Sequence[Array]]


@dataclass(frozen=True)
class Step:
    """One factor of a chain, for one group of the dense layer.

    Attributes:
        inputs: input channels.
        outputs: output channels.
        axes: the spatial axes it owns.
        depthwise: one group per channel (``inputs == outputs``).
        activation: applied after it, on an inner link.
    """

    inputs: int
    outputs: int
    axes: tuple[int, ...] = ()
    depthwise: bool = False
    activation: str | None = None

    @property
    def groups(self) -> int:
        """Groups within one group of the dense layer."""
        return self.inputs if self.depthwise else 1


def channels(dense: Factor) -> tuple[int, int]:
    """(C_in, C_out) of one group."""
    return int(dense.kernel.shape[1]), dense.out_channels // dense.groups


def group_kernels(dense: Factor) -> list[Array]:
    """One float64 kernel (C_out/groups, C_in/groups, *k) per group.

    Raises:
        UsageError: when a weight is not finite.
    """
    kernel = dense.kernel.astype(np.float64)
    if not np.isfinite(kernel).all():
        raise UsageError(
            f"the kernel of shape {kernel.shape} holds NaN or infinity; repair the weights before decomposing"
        )
    return list(kernel.reshape(dense.groups, -1, *kernel.shape[1:]))


def strongest_group(dense: Factor) -> Array:
    """The group's kernel with the largest Frobenius norm; the kernel itself where there is one group."""
    return max(group_kernels(dense), key=lambda kernel: float(np.linalg.norm(kernel)))


def checked_ranks(name: str, ranks: Sequence[int], limits: Sequence[int]) -> Shape:
    """The ranks as integers, each at most its limit.

    Raises:
        UsageError: for a wrong number of ranks, or one below 1.
    """
    values = tuple(int(rank) for rank in ranks)
    if len(values) != len(limits):
        raise UsageError(
            f"{name} takes {len(limits)} rank(s) for this layer, at most {tuple(limits)}; got {tuple(ranks)}"
        )
    if min(values) < 1:
        raise UsageError(f"{name} ranks {tuple(ranks)} must be positive integers, at most {tuple(limits)}")
    return tuple(min(value, limit) for value, limit in zip(values, limits, strict=True))


def decomposed(name: str, dense: Factor, steps: Sequence[Step], fit: Fit) -> Chain:
    """The chain of ``steps`` with kernels that ``fit`` finds for each group; zeros for a group of zeros."""
    shapes = [_shape(dense, step) for step in steps]
    fitted = []
    for kernel in group_kernels(dense):
        parts = fit(kernel) if kernel.any() else [np.zeros(shape) for shape in shapes]
        fitted.append([part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])
    kernels = [np.concatenate(parts).astype(dense.kernel.dtype) for parts in zip(*fitted, strict=True)]
    return _assemble(name, dense, steps, kernels, dense.bias)


def initialised(name: str, dense: Factor, steps: Sequence[Step], seed: int) -> Chain:
    """The chain of ``steps`` with random kernels, to be trained from scratch; no kernel is decomposed.

    Normal weights of variance ``gain / fan_in``, the gain being 2 for a factor before an activation and for
    the last one, 1 for one before a linear link (which keeps the variance as it is). The output's variance
    is then 2 E[x^2] on average over the draws, that of a dense layer initialised after He et al. 2015
    (arXiv 1502.01852). The bias, where the layer has one, starts at zero.
    """
    rng = np.random.default_rng(seed)
    kernels = []
    for index, step in enumerate(steps):
        shape = _shape(dense, step)
        gain = 2.0 if step.activation or index == len(steps) - 1 else 1.0
        deviation = math.sqrt(gain / math.prod(shape[1:]))
        weights = rng.normal(0.0, deviation, (dense.groups * shape[0], *shape[1:]))
        kernels.append(weights.astype(dense.kernel.dtype))
    return _assemble(name, dense, steps, kernels, None if dense.bias is None else np.zeros_like(dense.bias))


def _shape(dense: Factor, step: Step) -> Shape:
    taps = (size if axis in step.axes else 1 for axis, size in enumerate(dense.kernel_size))
    return (step.outputs, step.inputs // step.groups, *taps)


def _assemble(
    name: str, dense: Factor, steps: Sequence[Step], kernels: Sequence[Array], bias: Array | None
) -> Chain:
    factors = []
    for index, (step, kernel) in enumerate(zip(steps, kernels, strict=True)):
        last = index == len(steps) - 1
        owned = [axis in step.axes for axis in range(dense.spatial_rank)]
        factors.append(
            Factor(
                kernel=kernel,
                stride=tuple(s if own else 1 for s, own in zip(dense.stride, owned, strict=True)),
                pads=tuple(p if own else (0, 0) for p, own in zip(dense.pads, owned, strict=True)),
                dilation=tuple(d if own else 1 for d, own in zip(dense.dilation, owned, strict=True)),
                groups=dense.groups * step.groups,
                bias=bias if last else None,
                activation=dense.activation if last else step.activation,
            )
        )
    return Chain(tuple(factors), name)
