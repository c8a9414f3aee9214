"""Equal scales along the links of a chain, without changing what it computes.

On a linear link, channel r may be multiplied by any a > 0 in front and divided by it behind: for every a the
chain computes the same. :func:`balanced` chooses the a at which the kernels on both sides of every link have
equal norms per channel. In a CP chain every factor then carries the same share of each component. Narrow
number types, optimisers with one step size for all, and quantisation gain by it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tdedge.chain import Chain
from tdedge.factor import Array, Factor

_ROUNDS = 100
_EVEN = 1e-3  # largest |log a| of a round at which it ends


def balanced(chain: Chain) -> Chain:
    """The same chain with balanced linear links; computed in float64, returned in the kernels' types.

    Channels without any weight on one side of a link stay as they are.
    """
    factors = [factor.astype(np.float64) for factor in chain]
    for _ in range(_ROUNDS):
        largest = 0.0
        for index in range(len(factors) - 1):
            if factors[index].activation is not None:
                continue
            front, behind = _out_norms(factors[index]), _in_norms(factors[index + 1])
            alive = (front > 0) & (behind > 0)
            scale = np.sqrt(np.where(alive, behind, 1.0) / np.where(alive, front, 1.0))
            factors[index] = _scaled_outputs(factors[index], scale)
            factors[index + 1] = _scaled_inputs(factors[index + 1], 1 / scale)
            largest = max(largest, float(np.abs(np.log(scale)).max()))
        if largest < _EVEN:
            break
    typed = (factor.astype(original.kernel.dtype) for factor, original in zip(factors, chain, strict=True))
    return replace(chain, factors=tuple(typed))


def _out_norms(factor: Factor) -> Array:
    norms: Array = np.linalg.norm(factor.kernel.reshape(factor.out_channels, -1), axis=1)
    return norms


def _in_norms(factor: Factor) -> Array:
    """(C_in,): norm of all weights that read each input channel."""
    squares = np.square(_by_groups(factor)).sum(axis=(1, 3))
    norms: Array = np.sqrt(squares).reshape(-1)
    return norms


def _scaled_outputs(factor: Factor, scale: Array) -> Factor:
    kernel = factor.kernel * scale.reshape(-1, *(1,) * (factor.kernel.ndim - 1))
    return replace(factor, kernel=kernel, bias=None if factor.bias is None else factor.bias * scale)


def _scaled_inputs(factor: Factor, scale: Array) -> Factor:
    kernel = _by_groups(factor) * scale.reshape(factor.groups, 1, -1, 1)
    return replace(factor, kernel=kernel.reshape(factor.kernel.shape))


def _by_groups(factor: Factor) -> Array:
    """Kernel as (groups, C_out/groups, C_in/groups, taps)."""
    shape = (factor.groups, factor.out_channels // factor.groups, factor.kernel.shape[1], -1)
    return factor.kernel.reshape(shape)
