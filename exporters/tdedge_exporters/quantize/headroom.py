"""Room for samples that were not seen: ends of a range moved outward where that is expected to pay.

Of a tensor that has few values per sample some dozens of samples show the range badly. What the next one has
beyond it is cut off, and that costs more than all rounding: a trained network may keep 40 dB on the samples
it was calibrated on and 11 dB on others.

The largest value M of a sample is taken to follow a Gumbel distribution, fitted to the largest values of the
samples by their mean and deviation (Gumbel 1958, "Statistics of Extremes"). The end h is put where

    values * ((h - low) / 255)^2 / 12  +  n E[(M - h)_+^2]

is least, h not below the end that is there: rounding of all values that are not 0, and what is cut off of n
samples like those seen. The same holds for the lower end, with the signs turned. Where a sample has many
values the first term is large and largest values hardly differ: those ends stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tdedge_exporters.quantize.grids import LEVELS, Array

#: Ends that are tried, in scales of the distribution beyond the end that is there.
_BEYOND = np.linspace(0.0, 15.0, 61)
#: Where E[(M - h)_+^2] is integrated, in scales beyond h, and the width of a step there.
_TAIL = np.linspace(0.0, 40.0, 401)
_WIDTH = float(_TAIL[1] - _TAIL[0])
_EULER = 0.5772156649015329


def with_headroom(
    low: float, high: float, lows: Sequence[Array], highs: Sequence[Array], values: float
) -> tuple[float, float]:
    """The ends of a range, moved outward for samples that were not seen.

    Args:
        low: end that is there, at most 0; one of 0 stays.
        high: the other, at least 0.
        lows: per tensor on the range, the smallest value of every sample (n,).
        highs: the largest.
        values: how many values of all samples are not 0.
    """
    # The step depends on both ends, so each is moved again when the other was.
    for _ in range(2):
        if high > 0:
            high = _moved(high, -low, highs, values)
        if low < 0:
            low = -_moved(-low, high, [-each for each in lows], values)
    return low, high


def _moved(end: float, other: float, largest: Sequence[Array], values: float) -> float:
    """``end`` or one above; ``other``: how far the range reaches on the other side of 0."""
    spread = [each for each in largest if len(each) > 1 and np.ptp(each) > 0]
    if not spread:
        return end
    fits = [_gumbel(each) for each in spread]
    ends = end + max(scale for _, scale in fits) * _BEYOND
    lost = values * ((ends + other) / LEVELS) ** 2 / 12
    for each, (place, scale) in zip(spread, fits, strict=True):
        lost = lost + len(each) * _cut(ends, place, scale)
    return float(ends[int(np.argmin(lost))])


def _gumbel(samples: Array) -> tuple[float, float]:
    """(place, scale) of the distribution with the mean and deviation of ``samples``."""
    scale = float(np.std(samples, ddof=1)) * math.sqrt(6) / math.pi
    return float(np.mean(samples)) - _EULER * scale, scale


def _cut(ends: Array, place: float, scale: float) -> Array:
    """E[(M - h)_+^2] for every end h: the integral of 2 (x - h) P(M > x) over x from h on."""
    begin = (ends - place) / scale
    above = -np.expm1(-np.exp(-np.clip(begin[:, None] + _TAIL, -50.0, None)))
    made: Array = scale**2 * _WIDTH * (2 * _TAIL * above).sum(axis=1)
    return made
