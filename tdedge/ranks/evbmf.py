"""EVBMF: the rank of a noisy low-rank matrix by the global analytic empirical variational Bayes solution.

For ``Y (L, M)``, ``L <= M`` (transposed otherwise), with singular values s and noise variance v, let
``a = L/M``, ``t = 2.5129 sqrt(a)``, ``x0 = (1 + t)(1 + a/t)``. Component h is kept when
``x_h = s_h^2 / (M v) > x0``. The unknown v minimises the free energy (terms without v dropped)::

    sum_h (x_h + ln v) + sum_{x_h > x0} [ln(tau + 1) + a ln(tau/a + 1) - tau]
    tau = (x_h - (1 + a) + sqrt((x_h - (1 + a))^2 - 4a)) / 2

between bounds that follow from at most ``ceil(L/(1 + a)) - 1`` kept components.

Source: Nakajima, Sugiyama, Babacan, Tomioka 2013, J. Mach. Learn. Res. 14, theorems 2 and 3.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar

from tdedge.factor import Array, Factor
from tdedge.formats import Format
from tdedge.formats.linalg import singular_values
from tdedge.ranks.spectra import largest_over_groups

_SMALLEST_NOISE = 1e-15  # of the largest variance: a matrix without any noise keeps its numerical rank


def rank(matrix: Array, noise_variance: float | None = None) -> int:
    """Number of components above the noise in a matrix of either orientation; may be 0.

    Args:
        matrix: (L, M).
        noise_variance: of one element; estimated where None.
    """
    short, long = sorted(matrix.shape)
    values = singular_values(matrix)
    if values[0] == 0:
        return 0
    squares = (values / values[0]) ** 2 / long  # scaled so that neither tiny nor huge weights lose digits
    ratio = short / long
    tau = 2.5129 * math.sqrt(ratio)
    threshold = (1 + tau) * (1 + ratio / tau)
    if noise_variance is None:
        variance = _noise(squares, ratio, threshold)
    else:
        variance = noise_variance / float(values[0]) ** 2
    return int(np.count_nonzero(squares > variance * threshold))


def choose(dense: Factor, fmt: Format) -> tuple[int, ...]:
    """Ranks of ``fmt`` for one layer, each at least 1, the largest over its groups.

    Raises:
        UsageError: when a weight is not finite.
    """
    return largest_over_groups(dense, fmt, rank)


def _noise(squares: Array, ratio: float, threshold: float) -> float:
    """Noise variance of least free energy; ``squares`` are s^2 / M, largest first."""
    upper = float(squares.mean())
    kept = min(math.ceil(squares.size / (1 + ratio)) - 1, squares.size - 1)
    lower = max(float(squares[kept]) / threshold, float(squares[kept:].mean()), upper * _SMALLEST_NOISE)
    if lower >= upper:
        return upper

    def free_energy(log_variance: float) -> float:
        shares = squares / math.exp(log_variance)
        signal = shares[shares > threshold]
        shifted = signal - (1 + ratio)
        tau = (shifted + np.sqrt(shifted**2 - 4 * ratio)) / 2
        gain = np.log(tau + 1) + ratio * np.log(tau / ratio + 1) - tau
        return float(shares.sum() + squares.size * log_variance + gain.sum())

    found = minimize_scalar(free_energy, bounds=(math.log(lower), math.log(upper)), method="bounded")
    return math.exp(float(found.x))
