"""Energy rule: the fewest singular values that hold more than a given share of the squared sum.

``rank = min n with sum_{i<=n} s_i^2 / sum s_i^2 > energy``, on each unfolding of the original kernel.

Source: the rank rule of HT-2, Gabor and Zdunek 2023, Appl. Soft Comput. 132:109856.
"""

from __future__ import annotations

import numpy as np

from tdedge.errors import UsageError
from tdedge.factor import Array, Factor
from tdedge.formats import Format
from tdedge.formats.linalg import singular_values
from tdedge.ranks.spectra import largest_over_groups


def rank(matrix: Array, energy: float) -> int:
    """Rank of one matrix; 1 for a matrix of zeros.

    Raises:
        UsageError: when ``energy`` is not between 0 and 1.
    """
    if not 0 < energy < 1:
        raise UsageError(f"energy {energy} must be a share between 0 and 1, both excluded (0.9 keeps 90 %)")
    squares = singular_values(matrix) ** 2
    total = squares.sum()
    if total == 0:
        return 1
    within = int(np.searchsorted(np.cumsum(squares) / total, energy, side="right"))
    return min(within + 1, squares.size)


def choose(dense: Factor, fmt: Format, energy: float) -> tuple[int, ...]:
    """Ranks of ``fmt`` for one layer, the largest over its groups; ``energy`` in (0, 1).

    Raises:
        UsageError: when ``energy`` is not between 0 and 1, or a weight is not finite.
    """
    return largest_over_groups(dense, fmt, lambda matrix: rank(matrix, energy))
