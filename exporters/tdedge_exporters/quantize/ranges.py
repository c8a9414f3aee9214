"""From histograms to grids: where to cut a tensor's range.

    min-max      the whole range
    percentile   what a share of the values lies within, both ends cut alike
    mse          the ends with the smallest mean squared error of rounding and cutting together
    entropy      the ends whose rounded histogram loses the least information (Kullback-Leibler), both ends
                 cut alike (Migacz, "8-bit inference with TensorRT", GTC 2017)

A tensor without negative values is cut at its upper end alone. Then :mod:`headroom` moves ends outward where
samples that were not seen are expected to go beyond them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tdedge.errors import UsageError
from tdedge_exporters.quantize.grids import LEVELS, Array, Grid
from tdedge_exporters.quantize.headroom import with_headroom
from tdedge_exporters.quantize.statistics import Statistics

#: Share of the values that a percentile keeps.
PERCENTILE = 0.9999
#: Shares of the whole range that are tried.
_SHARES = np.linspace(0.3, 1.0, 71)


def methods() -> tuple[str, ...]:
    """Names of the methods."""
    return tuple(_METHODS)


def check(method: str) -> None:
    """Refuse an unknown method.

    Raises:
        UsageError: naming the known ones.
    """
    if method not in _METHODS:
        raise UsageError(
            f"unknown calibration method {method!r}; expected one of best, {', '.join(_METHODS)}"
        )


def grid(statistics: Sequence[Statistics], method: str) -> Grid:
    """The grid for tensors that share one.

    Raises:
        UsageError: an unknown method.
    """
    check(method)
    low, high = min(one.low for one in statistics), max(one.high for one in statistics)
    counts, middles = _joined(statistics)
    low, high = _METHODS[method](counts, middles, min(low, 0.0), max(high, 0.0))
    rounded = float(counts[np.abs(middles) > (high - low) / LEVELS / 2].sum())
    lows = [np.array(one.lows) for one in statistics]
    highs = [np.array(one.highs) for one in statistics]
    return Grid.of_range(*with_headroom(low, high, lows, highs, rounded))


def _joined(statistics: Sequence[Statistics]) -> tuple[Array, Array]:
    """Counts and the values they stand for, of all tensors together."""
    counts = [one.histogram for one in statistics]
    middles = [(one.edges[1:] + one.edges[:-1]) / 2 for one in statistics]
    return np.concatenate(counts), np.concatenate(middles)


def _min_max(counts: Array, middles: Array, low: float, high: float) -> tuple[float, float]:
    return low, high


def _percentile(counts: Array, middles: Array, low: float, high: float) -> tuple[float, float]:
    order = np.argsort(middles)
    share = np.cumsum(counts[order]) / max(counts.sum(), 1)
    cut = (1 - PERCENTILE) / 2
    ends = middles[order[np.searchsorted(share, [cut, 1 - cut]).clip(0, len(order) - 1)]]
    return max(low, min(float(ends[0]), 0.0)), min(high, max(float(ends[1]), 0.0))


def _best(low: float, high: float, loss: Callable[[float, float], float]) -> tuple[float, float]:
    """The ends of least loss, each end cut on its own in turn."""
    best, share_low, share_high = loss(low, high), 1.0, 1.0
    for end in (1, 0, 1):
        if (high if end else low) == 0:
            continue
        for share in _SHARES:
            trial = (share_low, float(share)) if end else (float(share), share_high)
            lost = loss(low * trial[0], high * trial[1])
            if lost < best:
                best, share_low, share_high = lost, *trial
    return low * share_low, high * share_high


def _mse(counts: Array, middles: Array, low: float, high: float) -> tuple[float, float]:
    def loss(begin: float, end: float) -> float:
        step = (end - begin) / LEVELS
        over = np.maximum(middles - end, 0) + np.maximum(begin - middles, 0)
        inside = over == 0
        # A zero is always on the grid: tensors after ReLU are zero half of the time.
        rounded = inside & (np.abs(middles) > step / 2)
        return float((counts * (over**2 + rounded * step**2 / 12)).sum())

    return _best(low, high, loss)


def _entropy(counts: Array, middles: Array, low: float, high: float) -> tuple[float, float]:
    # A peak at zero, as ReLU leaves it, is exact on every grid: it must not decide where to cut.
    width = np.diff(np.sort(middles)).max(initial=0.0)
    zeros = np.abs(middles) <= width
    counts = np.where(zeros, np.median(counts[~zeros]) if (~zeros).any() else 0.0, counts)
    total = max(counts.sum(), 1)

    def loss(begin: float, end: float) -> float:
        step = (end - begin) / LEVELS
        level = np.clip(np.rint((middles - begin) / step), 0, LEVELS).astype(int)
        inside = (middles >= begin - step / 2) & (middles <= end + step / 2)
        cut = np.bincount(level, counts, LEVELS + 1)
        kept = np.bincount(level[inside], counts[inside], LEVELS + 1)
        places = np.bincount(level[inside & (counts > 0)], minlength=LEVELS + 1)
        # The reference holds what is cut off in its outermost bins, the candidate spreads what it kept.
        reference = np.where(inside, counts, 0.0)
        outside = cut - kept
        for at in np.nonzero(outside)[0]:
            bins = np.nonzero(inside & (level == at))[0]
            if len(bins):
                reference[bins[0 if at == 0 else -1]] += outside[at]
        spread = np.where(inside & (counts > 0), (kept / np.maximum(places, 1))[level], 0.0)
        filled = (reference > 0) & (spread > 0)
        lost = reference[(reference > 0) & (spread <= 0)].sum() / total
        p, q = reference[filled] / total, spread[filled] / max(spread.sum(), 1)
        return float((p * np.log(p / q)).sum() + lost * np.log(total))

    shares = [(loss(low * share, high * share), -share) for share in _SHARES]
    share = -min(shares)[1]
    return low * share, high * share


_METHODS = {"mse": _mse, "minmax": _min_max, "percentile": _percentile, "entropy": _entropy}
