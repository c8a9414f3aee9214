"""The same factor with other groups, exactly.

dense      a grouped kernel with zeros between its groups: one group
grouped    a kernel whose elements outside g diagonal blocks are all 0: g groups, the most there are
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tdedge.factor import Factor


def dense(factor: Factor) -> Factor:
    """A grouped factor as one with a single group, zeros between its blocks."""
    if factor.groups == 1:
        return factor
    out, into, *taps = factor.kernel.shape
    per = out // factor.groups
    kernel = np.zeros((out, into * factor.groups, *taps), factor.kernel.dtype)
    for group in range(factor.groups):
        rows = slice(group * per, (group + 1) * per)
        kernel[rows, group * into : (group + 1) * into] = factor.kernel[rows]
    return replace(factor, kernel=kernel, groups=1)


def grouped(factor: Factor) -> Factor | None:
    """A factor of one group as one of as many as its zeros allow; None where they allow no second one."""
    if factor.groups != 1 or not factor.spatial_rank:
        return None
    out, into, *taps = factor.kernel.shape
    used = (factor.kernel != 0).reshape(out, into, -1).any(axis=2)
    for groups in range(math.gcd(out, into), 1, -1):
        if math.gcd(out, into) % groups:
            continue
        blocks = used.reshape(groups, out // groups, groups, into // groups).any(axis=(1, 3))
        if not (blocks & ~np.eye(groups, dtype=bool)).any():
            parts = factor.kernel.reshape(groups, out // groups, groups, into // groups, *taps)
            kernel = parts[np.arange(groups), :, np.arange(groups)].reshape(out, into // groups, *taps)
            return replace(factor, kernel=kernel, groups=groups)
    return None
