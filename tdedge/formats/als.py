"""Canonical polyadic (CP) fit of a tensor by alternating least squares, bounded in memory and in size.

``X[i,j,...] = sum_r F0[i,r] F1[j,r] ...``. Deterministic: started from the left singular vectors of every
unfolding, with seeded random columns where the rank exceeds a mode.

A best CP approximation need not exist: components can grow without bound and cancel each other, which ruins
narrow number types. Two guards: the tensor is scaled to norm 1 and every least-squares step carries a
small ridge (it bounds the components and costs about the ridge itself in accuracy), and the norm of each
component is spread evenly over its modes at the end.
"""

from __future__ import annotations

import math

import numpy as np
import tensorly
from tensorly.decomposition import parafac

from tdedge.factor import Array, Shape
from tdedge.formats.linalg import svd_for_tensorly, unfold

_ITERATIONS = 200
_TOLERANCE = 1e-8  # change of the relative error at which the iteration stops
_RIDGE = 1e-8


def full_rank(shape: Shape) -> int:
    """A rank at which every tensor of this shape is represented exactly."""
    return math.prod(shape) // max(shape)


def fit(tensor: Array, rank: int) -> list[Array]:
    """One (size, rank) matrix per mode of a nonzero tensor; exact at :func:`full_rank`."""
    if rank >= full_rank(tensor.shape):
        return _exact(tensor)
    norm = float(np.linalg.norm(tensor))
    with tensorly.backend_context("numpy", local_threadsafe=True):
        _, factors = parafac(
            tensor / norm,
            rank,
            n_iter_max=_ITERATIONS,
            tol=_TOLERANCE,
            init="svd",
            svd=svd_for_tensorly,
            l2_reg=_RIDGE,
            random_state=0,
        )
    return _balanced(factors, norm)


def _exact(tensor: Array) -> list[Array]:
    """One component per fibre along the longest mode: unit vectors everywhere else."""
    longest = int(np.argmax(tensor.shape))
    rest = [size for mode, size in enumerate(tensor.shape) if mode != longest]
    places = iter(np.indices(rest).reshape(len(rest), -1))
    return [
        unfold(tensor, mode) if mode == longest else np.eye(size)[:, next(places)]
        for mode, size in enumerate(tensor.shape)
    ]


def _balanced(factors: list[Array], norm: float) -> list[Array]:
    """The same components times ``norm``, each with equal column norms in all modes."""
    lengths = np.array([np.linalg.norm(factor, axis=0) for factor in factors])
    target = (norm * lengths.prod(axis=0)) ** (1 / len(factors))
    return [
        factor * (target / np.where(length > 0, length, 1.0))
        for factor, length in zip(factors, lengths, strict=True)
    ]
