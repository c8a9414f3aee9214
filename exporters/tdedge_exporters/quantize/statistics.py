"""What one tensor is like on samples: its range, a histogram, means per channel.

Statistics of some samples and of others make those of all together: ends and means exactly; counts between
the wider ends, those of a bin spread evenly over the bins that it reaches into, one or two as a rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tdedge_exporters.quantize.grids import Array

#: Bins of a histogram.
BINS = 2048
#: Width of the range of a tensor that is the same everywhere, times its magnitude above 1.
_LEAST_WIDTH = 1e-7
#: Bins over the width of a range at most, so that a float32 number of bins is finite.
_MOST_STEPS = 1e38


@dataclass(frozen=True)
class Statistics:
    """One tensor over all samples.

    Attributes:
        low: smallest value.
        high: largest.
        histogram: (BINS,) counts between ``low`` and ``high``; empty where none was asked for.
        channel_low: (C,) smallest value of every channel (axis 1); one channel where there is no axis 1.
        channel_high: (C,) largest.
        channel_mean: (C,) mean.
        channel_power: (C,) mean square.
        count: samples.
        lows: smallest value of every sample.
        highs: largest.
    """

    low: float
    high: float
    histogram: Array
    channel_low: Array
    channel_high: Array
    channel_mean: Array
    channel_power: Array
    count: int = 1
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, value: Array, *, histogram: bool = True) -> Statistics:
        """Those of one sample (N, C, *); ends are not finite where a value is not."""
        rows = (
            np.moveaxis(value, 1, 0).reshape(value.shape[1], -1) if value.ndim > 1 else value.reshape(1, -1)
        )
        lows, highs = rows.min(axis=1), rows.max(axis=1)
        low, high = float(lows.min()), float(highs.max())
        wide = high if high > low else low + _LEAST_WIDTH * max(1.0, abs(low))
        return cls(
            low,
            wide,
            _counts(value, low, wide) if histogram and np.isfinite(wide - low) else np.zeros(0),
            lows,
            highs,
            rows.mean(axis=1, dtype=np.float64),
            np.einsum("ij,ij->i", rows, rows, dtype=np.float64) / rows.shape[1],
            lows=[low],
            highs=[high],
        )

    @property
    def edges(self) -> Array:
        """(BINS + 1,) ends of the bins."""
        return np.linspace(self.low, self.high, len(self.histogram) + 1)

    def __add__(self, other: Statistics) -> Statistics:
        """Of the samples of both."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        count = self.count + other.count
        share, rest = self.count / count, other.count / count
        return Statistics(
            low,
            high,
            self._counts_between(low, high) + other._counts_between(low, high),
            np.minimum(self.channel_low, other.channel_low),
            np.maximum(self.channel_high, other.channel_high),
            share * self.channel_mean + rest * other.channel_mean,
            share * self.channel_power + rest * other.channel_power,
            count,
            self.lows + other.lows,
            self.highs + other.highs,
        )

    def _counts_between(self, low: float, high: float) -> Array:
        """The histogram between wider ends."""
        if not len(self.histogram) or (low, high) == (self.low, self.high):
            return self.histogram
        below = np.concatenate(([0.0], np.cumsum(self.histogram)))
        return np.diff(np.interp(np.linspace(low, high, len(below)), self.edges, below))


def together(parts: Sequence[Mapping[str, Statistics]]) -> dict[str, Statistics]:
    """Of the samples of all parts; at least one part, all with the same tensors."""
    first, *others = parts
    found = dict(first)
    for other in others:
        found = {name: one + other[name] for name, one in found.items()}
    return found


def _counts(value: Array, low: float, high: float) -> Array:
    """(BINS,) how many values lie in each bin."""
    places = ((value.ravel() - low) * min(BINS / (high - low), _MOST_STEPS)).astype(np.int32)
    return np.bincount(np.clip(places, 0, BINS - 1, out=places), minlength=BINS).astype(np.float64)
