"""Singular values and vectors of unfolded kernels, in memory proportional to the kernel.

A wide matrix is reduced by the QR decomposition of its transpose: ``M^T = Q R``, so ``M = R^T Q^T`` has the
singular values and the left singular vectors of the small square ``R^T``, and ``Q`` is never formed. No full
matrix of singular vectors is ever asked for: it would need terabytes for a 1024 -> 512, 3x3x3 kernel.

Where the short side has :data:`GRAM_ROWS` or more, left singular vectors are the eigenvectors of the Gram
matrix ``M M^T``: many times faster, still orthonormal to rounding, so a chain at full rank stays exact.
Singular values below 1e-8 of the largest are lost in that; no rank rule keeps them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tdedge.factor import Array

#: Short side from which on the Gram matrix is used.
GRAM_ROWS = 256


def unfold(tensor: Array, *modes: int) -> Array:
    """Matrix whose rows run over ``modes`` (in the given order) and whose columns over the other modes."""
    rest = [mode for mode in range(tensor.ndim) if mode not in modes]
    rows = int(np.prod([tensor.shape[mode] for mode in modes]))
    return tensor.transpose(*modes, *rest).reshape(rows, -1)


def left_singular(matrix: Array, rank: int) -> tuple[Array, Array]:
    """Left singular vectors (m, r) and singular values (r,) of an (m, n) matrix, r = min(rank, m, n)."""
    rows, columns = matrix.shape
    if GRAM_ROWS <= rows <= columns:
        squares, vectors = np.linalg.eigh(matrix @ matrix.T)
        return vectors[:, : -rank - 1 : -1], np.sqrt(np.maximum(squares[: -rank - 1 : -1], 0.0))
    if rows < columns:
        matrix = _triangle(matrix.T).T
    vectors, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return vectors[:, :rank], values[:rank]


def singular_values(matrix: Array) -> Array:
    """All min(m, n) singular values of an (m, n) matrix, largest first."""
    rows, columns = matrix.shape
    triangle = _triangle(matrix.T if rows < columns else matrix)
    values: Array = np.linalg.svd(triangle, compute_uv=False)
    return values


def _triangle(tall: Array) -> Array:
    """R of ``tall = Q R``, without Q."""
    triangle: Array = np.asarray(np.linalg.qr(tall, mode="r"))
    return triangle


def split(matrix: Array, rank: int) -> tuple[Array, Array]:
    """Best ``left (m, r) @ right (r, n)`` of an (m, n) matrix, each carrying the root of the singular values.

    Equal scales on both sides keep either factor in the range of narrow number types.
    """
    vectors, values = left_singular(matrix, rank)
    scale = np.sqrt(np.where(values > 0, values, 1.0))
    return vectors * scale, (vectors.T @ matrix) / scale[:, None]


def svd_for_tensorly(matrix: Array, n_eigenvecs: int | None = None, **_: Any) -> tuple[Array, Array, Array]:
    """Truncated SVD (U, s, V) with the signature tensorly asks of its ``svd`` argument."""
    vectors, values = left_singular(matrix, min(matrix.shape) if n_eigenvecs is None else n_eigenvecs)
    return vectors, values, (vectors.T @ matrix) / np.where(values > 0, values, 1.0)[:, None]
