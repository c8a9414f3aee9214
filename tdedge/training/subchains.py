"""The part of a chain that moments of its input can fit: its linear end, as cores per group.

From some factor on, a chain is a plain tensor network (see :mod:`tdedge.training.alternate`) if

- no link behind this factor is activated, and no factor but the last has a bias or an activation,
- every spatial axis with taps belongs to one factor,
- every factor is dense or depthwise within a group, and the last one is dense,
- it composes exactly to one convolution, whose patches are at most ``limit`` numbers wide on every link.

A linear chain is one from its first factor on, unless it is too wide; a chain with activated links from its
last factor on. What is in front of that part stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tdedge.chain import Chain
from tdedge.compose import NotExactError
from tdedge.factor import Array, Factor
from tdedge.training.alternate import Core, composed


@dataclass(frozen=True)
class SubChain:
    """The end of a chain.

    Attributes:
        chain: the whole chain, in float64.
        start: index of the first factor that belongs to it.
        geometry: the factors from there on as one factor, float64.
        cores: per group of ``geometry``, the cores.
    """

    chain: Chain
    start: int
    geometry: Factor
    cores: tuple[tuple[Core, ...], ...]

    def with_cores(self, cores: Sequence[Sequence[Core]], bias: Array | None) -> Chain:
        """The whole chain with other kernels in this part, and another bias on its last factor."""
        factors = list(self.chain)
        for index, parts in enumerate(zip(*cores, strict=True), start=self.start):
            kernels = [part.kernel.cpu().numpy() for part in parts]
            kernel = np.concatenate(kernels).reshape(factors[index].kernel.shape)
            factors[index] = replace(factors[index], kernel=kernel)
        factors[-1] = replace(factors[-1], bias=bias)
        return Chain(tuple(factors), self.chain.format)


def linear_end(chain: Chain, limit: int, device: torch.device | str = "cpu") -> SubChain | None:
    """The longest part that can be fitted; None where not even the last factor can.

    Args:
        chain: of any format.
        limit: widest patch, in numbers, on any of its links.
        device: of the cores.
    """
    exact = chain.astype(np.float64)
    for start in range(len(exact)):
        part = _part(exact, start, limit, device)
        if part is not None:
            return part
    return None


def _part(chain: Chain, start: int, limit: int, device: torch.device | str) -> SubChain | None:
    factors = chain.factors[start:]
    if any(f.activation is not None for f in factors) or any(f.bias is not None for f in factors[:-1]):
        return None
    groups = math.gcd(*(factor.groups for factor in factors))
    owned = [tuple(axis for axis, size in enumerate(f.kernel_size) if size > 1) for f in factors]
    if len({axis for axes in owned for axis in axes}) != sum(map(len, owned)):
        return None
    if any(_width(factors[index:], groups) > limit for index in range(len(factors))):
        return None
    if not all(_is_simple(factor, groups) for factor in factors) or factors[-1].groups != groups:
        return None
    try:
        geometry = chain.segment(start, len(chain))
    except NotExactError:
        return None
    if geometry.groups != groups:
        return None
    cores = tuple(
        tuple(_core(f, axes, group, groups, device) for f, axes in zip(factors, owned, strict=True))
        for group in range(groups)
    )
    kernels = torch.stack([composed(own) for own in cores]).cpu().numpy()
    if kernels.size != geometry.kernel.size or not np.allclose(kernels.ravel(), geometry.kernel.ravel()):
        return None
    return SubChain(chain, start, geometry, cores)


def _width(factors: Sequence[Factor], groups: int) -> int:
    """Numbers in a patch of one group in front of these factors."""
    return factors[0].in_channels // groups * math.prod(math.prod(f.kernel_size) for f in factors)


def _is_simple(factor: Factor, groups: int) -> bool:
    """Dense or depthwise within each of the groups."""
    return factor.groups == groups or factor.groups == factor.in_channels == factor.out_channels


def _core(factor: Factor, axes: tuple[int, ...], group: int, groups: int, device: torch.device | str) -> Core:
    outputs = factor.out_channels // groups
    depthwise = factor.groups != groups
    taps = tuple(factor.kernel_size[axis] for axis in axes)
    kernel = factor.kernel[group * outputs : (group + 1) * outputs]
    shape = (outputs, *taps) if depthwise else (outputs, factor.kernel.shape[1], *taps)
    return Core(_double(kernel.reshape(shape), device), axes, depthwise)


def _double(array: Array, device: torch.device | str) -> Tensor:
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float64, device=device)
