"""Statistics of latency samples: robust, seeded, NumPy only.

Samples come in *blocks*: row ``b`` holds the calls that one model made in block ``b``. Calls of one block
share the state of the machine, so the bootstrap resamples whole blocks (Künsch, Annals of Statistics 17,
1989); for two models it draws the same blocks for both, which cancels what disturbed both. Intervals are
percentile intervals (Efron, Annals of Statistics 7, 1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.ArrayLike


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap confidence interval, in the unit of the samples (none for a ratio).

    Attributes:
        value: The estimate from all samples.
        low: Lower end of the interval.
        high: Upper end of the interval.
        confidence: Coverage aimed at, as 0.95.
        resamples: Number of bootstrap draws.
    """

    value: float
    low: float
    high: float
    confidence: float
    resamples: int

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return dict(vars(self))


def median(values: Samples) -> float:
    """The median."""
    return float(np.median(_flat(values)))


def mad(values: Samples) -> float:
    """The median absolute deviation from the median, without a scale factor."""
    flat = _flat(values)
    return float(np.median(np.abs(flat - np.median(flat))))


def percentile(values: Samples, percent: float) -> float:
    """The ``percent`` percentile (0 to 100), linearly interpolated between samples."""
    return float(np.percentile(_flat(values), percent))


def median_interval(
    blocks: Samples, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The median of all samples, with an interval from resampled blocks.

    Args:
        blocks: Samples of shape (blocks, calls), or (blocks,); at least two blocks.
        confidence: Coverage, between 0 and 1.
        resamples: Number of bootstrap draws.
        seed: Seed of the draws.

    Raises:
        ValueError: Fewer than two blocks, or a confidence outside 0 to 1.
    """
    values = _blocks(blocks)
    draws = _draws(len(values), confidence, resamples, seed)
    medians = np.median(values[draws], axis=(1, 2))
    return _interval(float(np.median(values)), medians, confidence)


def ratio_of_medians(
    numerator_blocks: Samples,
    denominator_blocks: Samples,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The ratio of two medians, with an interval from blocks drawn together.

    Block ``b`` of both arguments was measured side by side. With latencies of a reference over those of a
    variant, the ratio is the variant's speed-up.

    Raises:
        ValueError: Fewer than two blocks, other numbers of blocks, or a confidence outside 0 to 1.
    """
    above, below = _blocks(numerator_blocks), _blocks(denominator_blocks)
    if len(above) != len(below):
        raise ValueError(
            f"paired samples have {len(above)} and {len(below)} blocks; expected the same number"
        )
    draws = _draws(len(above), confidence, resamples, seed)
    ratios = np.median(above[draws], axis=(1, 2)) / np.median(below[draws], axis=(1, 2))
    return _interval(float(np.median(above) / np.median(below)), ratios, confidence)


def summarise_ms(
    latencies_ms: Samples, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Count, median with its interval, MAD, percentiles, mean and extremes of latencies in milliseconds."""
    flat = _flat(latencies_ms)
    interval = median_interval(latencies_ms, confidence=confidence, resamples=resamples, seed=seed)
    return {
        "count": int(flat.size),
        "median_ms": interval.value,
        "median_low_ms": interval.low,
        "median_high_ms": interval.high,
        "confidence": confidence,
        "mad_ms": mad(flat),
        "p50_ms": percentile(flat, 50),
        "p90_ms": percentile(flat, 90),
        "p99_ms": percentile(flat, 99),
        "mean_ms": float(flat.mean()),
        "min_ms": float(flat.min()),
        "max_ms": float(flat.max()),
    }


def _flat(values: Samples) -> npt.NDArray[np.float64]:
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    if flat.size == 0:
        raise ValueError("no samples")
    return flat


def _blocks(values: Samples) -> npt.NDArray[np.float64]:
    blocks = np.asarray(values, dtype=np.float64)
    if blocks.ndim == 1:
        blocks = blocks[:, None]
    if blocks.ndim != 2 or blocks.shape[0] < 2 or blocks.shape[1] < 1:
        raise ValueError(
            f"samples of shape {list(blocks.shape)}; expected (blocks, calls) with two blocks or more"
        )
    return blocks


def _draws(count: int, confidence: float, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"confidence {confidence} and {resamples} resamples; expected 0 to 1 and at least 1")
    return np.random.default_rng(seed).integers(0, count, (resamples, count))


def _interval(value: float, resampled: npt.NDArray[np.float64], confidence: float) -> Interval:
    tail = 50 * (1 - confidence)
    low, high = np.percentile(resampled, (tail, 100 - tail))
    return Interval(value, float(low), float(high), confidence, len(resampled))
