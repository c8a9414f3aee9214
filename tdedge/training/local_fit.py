"""The end of one chain fitted to moments of its data: kernels, bias, and how strongly to pull.

The pull towards the dense kernel (``ridge``) matters where the calibration data say little: few samples, or
wide patches that never vary in some direction. Where it is not given it is chosen on samples held out: the
chain is fitted to the others at each of :data:`RIDGES`, and the one with the least error on those held out
is used for the fit to all. The last of them is so strong that the kernels hardly move and only the bias does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tdedge.chain import Chain
from tdedge.factor import Array
from tdedge.training.alternate import Core, Problem, alternate, composed
from tdedge.training.moments import Moments
from tdedge.training.subchains import SubChain

#: Shares of the mean squared input, strongest pull first.
RIDGES = (1e2, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6)
_TRIAL_SWEEPS = 3


@dataclass(frozen=True)
class Fit:
    """A fitted chain: its cores per group, its bias (None where the chain has none), and what it took."""

    cores: tuple[tuple[Core, ...], ...]
    bias: Tensor | None
    sweeps: int

    def chain(self, part: SubChain) -> Chain:
        """The whole chain with these kernels."""
        bias = None if self.bias is None else self.bias.reshape(-1).cpu().numpy()
        return part.with_cores(self.cores, bias)

    def error(self, moments: Moments) -> float:
        """Mean squared error per position on other data, summed over channels."""
        a, b, c = moments.raw()
        mean_x, mean_y = moments.x / moments.count, moments.y / moments.count
        total = float(c.sum())
        for group, cores in enumerate(self.cores):
            kernel = composed(cores)
            kernel = kernel.reshape(len(kernel), -1)
            total += float(((kernel @ a[group]) * kernel).sum() - 2 * (kernel * b[group]).sum())
            if self.bias is not None:
                bias, gap = self.bias[group], kernel @ mean_x[group] - mean_y[group]
                total += float((bias * (bias + 2 * gap)).sum())
        return total


def fit(
    part: SubChain,
    moments: Moments,
    priors: Tensor,
    ridge: float,
    sweeps: int,
    start: Sequence[Sequence[Core]] | None = None,
) -> Fit:
    """Least squares by :func:`tdedge.training.alternate.alternate`, group by group.

    Args:
        part: the end of a chain.
        moments: of its inputs and targets.
        priors: (G, T, S, *taps), the kernels it is pulled to; only axes with taps.
        ridge: strength of the pull, as a share of the mean squared input.
        sweeps: at most.
        start: cores to start from; those of ``part`` where None.
    """
    has_bias = part.chain.factors[-1].bias is not None
    a, b, c = moments.centred() if has_bias else moments.raw()
    cores, biases, used = [], [], 0
    for group, own in enumerate(start or part.cores):
        problem = Problem.make(a[group], b[group], float(c[group]), priors[group], ridge)
        solution = alternate(own, problem, sweeps)
        kernel = composed(solution.cores)
        biases.append((moments.y[group] - kernel.reshape(len(kernel), -1) @ moments.x[group]) / moments.count)
        cores.append(solution.cores)
        used = max(used, len(solution.values) - 1)
    return Fit(tuple(cores), torch.stack(biases) if has_bias else None, used)


def chosen_ridge(part: SubChain, known: Moments, held_out: Moments, priors: Tensor) -> float:
    """The ridge of the least error on data held out, after a few sweeps on the others."""
    best, least, start = RIDGES[0], np.inf, None
    for ridge in RIDGES:
        trial = fit(part, known, priors, ridge, _TRIAL_SWEEPS, start)
        error = trial.error(held_out)
        if error < least:
            best, least = ridge, error
        start = trial.cores
    return best


def prior_of(part: SubChain, dense_kernel: Array) -> Tensor:
    """What the fit is pulled to, (G, T, S, *taps).

    The dense kernel where the whole chain is fitted; zero behind an activated link; else what this part of
    the chain computes now.
    """
    current = torch.stack([composed(cores) for cores in part.cores])
    if part.start == 0 and dense_kernel.size == current.numel():
        return torch.as_tensor(dense_kernel.astype(np.float64)).to(current.device).reshape(current.shape)
    is_activated = any(factor.activation is not None for factor in part.chain.factors[: part.start])
    return torch.zeros_like(current) if is_activated else current
