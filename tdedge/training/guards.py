"""Guards against degenerate CP chains: components that grow without bound and cancel each other.

A best CP approximation of a tensor need not exist: terms can diverge while their sum converges. Training and
narrow number types suffer long before that, as the layer becomes the small difference of large numbers. With
rank-one terms t_r, kernel ``W = sum_r t_r``, the degeneracy is

    sum_r |t_r| / |W|      1 for one term, at most sqrt(R) for R orthogonal ones, unbounded where they cancel

Scales inside a term may be moved between its factors without changing it, so balancing cannot lower the
degeneracy; what it does is to spread a diverging norm evenly, which keeps the gradients of all factors alike
(see :mod:`tdedge.training.balance`).

Source: Phan, Sobolev, Sozykin et al. 2020, "Stable low-rank tensor decomposition for compression of
convolutional neural network" (ECCV, arXiv 2008.05441).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.modules import ChainLayer, FactorLayer
from tdedge.training.balance import balanced

#: Formats whose chains are sums of rank-one terms.
FORMATS = ("cp", "kcp")
#: Growth of the degeneracy, over its start, from which on a chain is diverging.
LIMIT = 100.0


def degeneracy(chain: Chain) -> float:
    """``sum_r |t_r| / |W|`` of a chain of the CP topology, the largest over its groups; 1 for a zero kernel.

    Exact up to about 1e8, where the sum of the terms drowns in rounding.

    Raises:
        UsageError: when the chain is no sum of rank-one terms.
    """
    groups = math.gcd(*(factor.groups for factor in chain))
    first, last = chain.factors[0], chain.factors[-1]
    is_cp = len(chain) > 1 and chain.is_linear and first.groups == last.groups == groups
    if not is_cp or any(f.groups != f.in_channels or f.groups != f.out_channels for f in chain.factors[1:-1]):
        raise UsageError(
            f"a chain of format {chain.format!r} is no sum of rank-one terms; "
            f"degeneracy is defined for {', '.join(FORMATS)}"
        )
    ratios = []
    rank = first.out_channels // groups
    for group in range(groups):
        columns = [_rows(factor, group, rank) for factor in chain.factors[:-1]]
        outputs = last.out_channels // groups
        kernel = last.kernel[group * outputs : (group + 1) * outputs]
        columns.append(np.moveaxis(kernel, 1, 0).reshape(rank, -1).astype(np.float64))
        norms = np.prod([np.linalg.norm(rows, axis=1) for rows in columns], axis=0)
        squared = float(np.prod([rows @ rows.T for rows in columns], axis=0).sum())
        total = float(norms.sum())
        floor = np.finfo(np.float64).eps * total**2
        ratios.append(total / math.sqrt(max(squared, floor)) if total > 0 else 1.0)
    return max(ratios)


@dataclass(frozen=True)
class Degenerate:
    """What a guard saw.

    Attributes:
        layer: name of the chain.
        epoch: from 0.
        start: degeneracy before training.
        now: degeneracy at the end of the epoch.
        action: ``"rebalanced"`` when the limit was first passed, ``"diverging"`` where it grew on after that.
    """

    layer: str
    epoch: int
    start: float
    now: float
    action: Literal["rebalanced", "diverging"]


class DegeneracyGuard:
    """Watches the CP and KCP chains of a module from epoch to epoch.

    A chain whose degeneracy passes ``limit`` times its start is rebalanced, which changes nothing of what it
    computes; if it still grows after that, this is reported once. Usable as ``after_epoch`` of any loop.

    Attributes:
        events: what happened, in order.
    """

    def __init__(self, module: nn.Module, limit: float = LIMIT) -> None:
        if limit <= 1:
            raise UsageError(f"limit {limit!r}; expected a growth above 1")
        self.events: list[Degenerate] = []
        self._limit = limit
        self._start = {name: degeneracy(layer.to_chain()) for name, layer in _chains(module)}

    def __call__(self, epoch: int, module: nn.Module) -> list[nn.Parameter]:
        """Look at every chain; the parameters that were rebalanced (their optimiser state is stale)."""
        touched: list[nn.Parameter] = []
        for name, layer in _chains(module):
            start, now = self._start.get(name), degeneracy(layer.to_chain())
            if start is None or now <= self._limit * start:
                continue
            past = [event for event in self.events if event.layer == name]
            if not past:
                rebalance(layer)
                touched += list(layer.parameters())
                self.events.append(Degenerate(name, epoch, start, now, "rebalanced"))
            elif past[-1].action == "rebalanced" and now > past[-1].now:
                self.events.append(Degenerate(name, epoch, start, now, "diverging"))
        return touched


def rebalance(layer: ChainLayer) -> None:
    """Equal norms per component in every factor, in place; what the layer computes stays."""
    factors = [factor for factor in layer.factors if isinstance(factor, FactorLayer)]
    if any(factor.norm is not None for factor in factors):
        raise UsageError("a chain with batch normalisation on its links has no scales to move")
    with torch.no_grad():
        for module, factor in zip(factors, balanced(layer.to_chain()), strict=True):
            module.weight.copy_(torch.tensor(factor.kernel))
            if module.bias is not None:
                module.bias.copy_(torch.tensor(factor.bias))


def _chains(module: nn.Module) -> list[tuple[str, ChainLayer]]:
    return [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, ChainLayer) and layer.format in FORMATS
    ]


def _rows(factor: Factor, group: int, rank: int) -> np.ndarray:
    """(R, rest): the part of every term that lies in this factor, of one group."""
    kernel = factor.kernel[group * rank : (group + 1) * rank]
    return kernel.reshape(rank, -1).astype(np.float64)
