"""Canonical polyadic (CP) fit of a tensor by alternating least squares, bounded in memory and in size.

``X[i,j,...] = sum_r F0[i,r] F1[j,r] ...``. Deterministic: started from the left singular vectors of every
unfolding, perturbed, with random columns where the rank exceeds a mode, all from one fixed seed.

Memory: with n elements and a longest mode of l, a sweep needs ``R*n/l`` numbers beside the tensor, because
every product with the other modes goes through the longest one. (tensorly's ``parafac`` forms ``R*n/3`` for
a mode of three taps: measured 5.6 GiB for a 1024 -> 512, 3x3x3 kernel at R = 64.)

A best CP approximation need not exist: components can grow without bound and cancel each other, which ruins
narrow number types. So the tensor is scaled to norm 1 and every least-squares step carries a ridge:

    minimise  e^2 + ridge * (sum of |F|^2),    e the relative error,    ridge = share * e^2, never growing

The share grows in steps, each fit beginning with the last one's factors, as long as the error stays within
1 % of the first, where the ridge is next to nothing; an exact fit stays exact. On 3 x 3 kernels of a trained
ResNet the components' norm falls from 1.8 to 5.8 of the tensor's to 1. At the end the norm
of each component is spread evenly over its modes. (Source: Phan et al. 2020, arXiv 2008.05441, who bound the
error and minimise the sensitivity.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
from scipy.linalg import khatri_rao

from tdedge.factor import Array, Shape
from tdedge.formats.linalg import left_singular, unfold

_SWEEPS = 200
_TOLERANCE = 1e-5  # relative decrease of the square root of what is minimised at which the sweeps stop
_SHARES = (1e-6, 1e-4, 1e-3, 3e-3)  # ridge over the squared relative error, tried in this order
_LEAST_RIDGE = 1e-8
_COST = 1.01  # relative error at most, over that with the smallest ridge
_PERTURBATION = 0.3  # length of what is added to a start vector of length 1


def full_rank(shape: Shape) -> int:
    """A rank at which every tensor of this shape is represented exactly."""
    return math.prod(shape) // max(shape)


def fit(tensor: Array, rank: int) -> list[Array]:
    """One (size, rank) matrix per mode of a nonzero tensor; exact at :func:`full_rank`."""
    order = [int(mode) for mode in np.argsort(tensor.shape)[::-1]]  # longest mode first
    longest_first = tensor.transpose(order)
    if rank >= full_rank(tensor.shape):
        factors = _exact(longest_first)
    else:
        norm = float(np.linalg.norm(tensor))
        factors = _balanced(_alternate(longest_first / norm, rank), norm)
    return [factors[order.index(mode)] for mode in range(tensor.ndim)]


def _alternate(tensor: Array, rank: int) -> list[Array]:
    """The factors of the largest ridge that costs little; ``tensor`` has norm 1, its longest mode first."""
    factors, least = _sweeps(tensor, _start(tensor, rank), _SHARES[0])
    for share in _SHARES[1:]:
        smaller, error = _sweeps(tensor, factors[1:], share)
        if error > _COST * least:
            break
        factors = smaller
    return factors


def _sweeps(tensor: Array, others: Sequence[Array], share: float) -> tuple[list[Array], float]:
    """Least squares in one mode after the other, and the relative error.

    Args:
        tensor: of norm 1, its longest mode first.
        others: factors of the other modes to begin with.
        share: ridge over the squared relative error.
    """
    matrix, others, rank = unfold(tensor, 0), list(others), others[0].shape[1]
    previous, ridge = math.inf, share
    for _ in range(_SWEEPS):
        longest = _solve(matrix @ reduce(khatri_rao, others), others, ridge)
        partial = (matrix.T @ longest).reshape(*tensor.shape[1:], rank)
        for mode in range(len(others)):
            rest = others[:mode] + others[mode + 1 :]
            product = _project(partial, others, mode)
            others[mode] = _solve(product, [longest, *rest], ridge)
        overlap = float(np.sum(product * others[-1]))
        squared = max(1 - 2 * overlap + float(np.sum(_gram([longest, *others]))), 0.0)
        energy = sum(float(np.sum(factor**2)) for factor in (longest, *others))
        reached = math.sqrt(squared + ridge * energy)
        if previous - reached < _TOLERANCE * reached:
            break
        previous = reached
        ridge = min(ridge, max(share * squared, _LEAST_RIDGE))
    return [longest, *others], math.sqrt(squared)


def _start(tensor: Array, rank: int) -> list[Array]:
    """Left singular vectors of every mode but the first, perturbed, and random columns beyond them.

    Unperturbed they can be a saddle point, where the sweeps stop at once (tensors with symmetric modes).
    """
    rng = np.random.default_rng(0)
    factors: list[Array] = []
    for mode in range(1, tensor.ndim):
        vectors, _ = left_singular(unfold(tensor, mode), rank)
        size, known = vectors.shape
        factor = rng.normal(0.0, size**-0.5, (size, rank))
        factor[:, :known] = vectors + _PERTURBATION * factor[:, :known]
        factors.append(factor)
    return factors


def _project(partial: Array, others: Sequence[Array], mode: int) -> Array:
    """(size of the mode, R): ``partial`` (*sizes, R) contracted with every factor but that of ``mode``."""
    letters = "abcdef"[: len(others)]
    rest = [axis for axis in range(len(others)) if axis != mode]
    terms = ",".join([letters + "r", *(letters[axis] + "r" for axis in rest)])
    product: Array = np.einsum(
        f"{terms}->{letters[mode]}r", partial, *(others[axis] for axis in rest), optimize=True
    )
    return product


def _gram(factors: Sequence[Array]) -> Array:
    """(R, R): elementwise product of ``F^T F`` over the factors."""
    return reduce(np.multiply, [factor.T @ factor for factor in factors])


def _solve(product: Array, rest: Sequence[Array], ridge: float) -> Array:
    """The factor of least squared error plus ridge, the factors ``rest`` being fixed."""
    gram = _gram(rest)
    least = ridge + np.finfo(gram.dtype).eps * float(np.trace(gram))
    solution: Array = np.linalg.solve(gram + least * np.eye(len(gram)), product.T).T
    return solution


def _exact(tensor: Array) -> list[Array]:
    """One component per fibre along the first mode: unit vectors in every other mode."""
    places = np.indices(tensor.shape[1:]).reshape(tensor.ndim - 1, -1)
    units = [np.eye(size)[:, place] for size, place in zip(tensor.shape[1:], places, strict=True)]
    return [unfold(tensor, 0), *units]


def _balanced(factors: list[Array], norm: float) -> list[Array]:
    """The same components times ``norm``, each with equal column norms in all modes."""
    lengths = np.array([np.linalg.norm(factor, axis=0) for factor in factors])
    target = (norm * lengths.prod(axis=0)) ** (1 / len(factors))
    return [
        factor * (target / np.where(length > 0, length, 1.0))
        for factor, length in zip(factors, lengths, strict=True)
    ]
