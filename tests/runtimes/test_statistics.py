"""Statistics against values worked out by hand, and the coverage of the intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdedge_runtimes.statistics import (
    mad,
    median,
    median_interval,
    percentile,
    ratio_of_medians,
    summarise_ms,
)


def test_known_values():
    values = [[1.0, 9.0], [2.0, 4.0], [3.0, 100.0]]
    assert median(values) == 3.5
    assert mad(values) == 2.0  # deviations 2.5 5.5 1.5 .5 .5 96.5
    assert percentile(range(101), 90) == 90
    assert percentile([1.0, 2.0], 50) == 1.5


def test_summary_has_units_and_percentiles():
    rows = np.arange(1.0, 101.0).reshape(50, 2)
    summary = summarise_ms(rows)
    assert summary["count"] == 100
    assert summary["median_ms"] == summary["p50_ms"] == 50.5
    assert summary["p90_ms"] == pytest.approx(90.1)
    assert summary["p99_ms"] == pytest.approx(99.01)
    assert (summary["min_ms"], summary["max_ms"], summary["mean_ms"]) == (1.0, 100.0, 50.5)
    assert summary["mad_ms"] == 25.0
    assert summary["median_low_ms"] < 50.5 < summary["median_high_ms"]


def test_constant_samples_have_an_empty_interval():
    interval = median_interval([[2.0]] * 5)
    assert (interval.low, interval.value, interval.high) == (2.0, 2.0, 2.0)


def test_same_seed_same_interval_and_another_seed_another():
    rows = np.random.default_rng(1).gamma(9.0, size=(12, 2))
    first, again, other = (median_interval(rows, resamples=40, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_higher_confidence_is_wider():
    rows = np.random.default_rng(1).gamma(9.0, size=(30, 2))
    narrow, wide = median_interval(rows, confidence=0.5), median_interval(rows, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_pairing_cancels_what_disturbs_both():
    """A drift of a factor ten hits both models of a block: the ratio stays exact, unpaired it would not."""
    drift = np.geomspace(1, 10, 40)[:, None]
    ratio = ratio_of_medians(6 * drift, 2 * drift)
    assert ratio.value == pytest.approx(3.0)
    assert ratio.high - ratio.low < 1e-9
    shuffled = np.random.default_rng(0).permutation(drift)
    unpaired = ratio_of_medians(6 * drift, 2 * shuffled)
    assert unpaired.high - unpaired.low > 0.5


def test_identical_models_cover_one():
    """The 95 % interval of two equal distributions misses the ratio one about one time in twenty."""
    rng = np.random.default_rng(7)
    missed = 0
    for trial in range(200):
        first, second = rng.gamma(50.0, size=(2, 30, 2))
        ratio = ratio_of_medians(first, second, resamples=400, seed=trial)
        missed += not ratio.low <= 1.0 <= ratio.high
    assert 1 <= missed <= 30


@given(st.lists(st.floats(0.01, 1e4), min_size=2, max_size=20), st.floats(0.1, 10))
def test_ratio_scales_and_interval_holds_its_ends_in_order(values, factor):
    ratio = ratio_of_medians([v * factor for v in values], values, resamples=50)
    assert ratio.value == pytest.approx(factor, rel=1e-9)
    assert ratio.low <= ratio.high


@pytest.mark.parametrize("rows", [[], [[1.0]], [[[1.0]]], [[], []]])
def test_too_few_samples(rows):
    with pytest.raises(ValueError, match="samples"):
        median_interval(rows)


def test_unpaired_blocks():
    with pytest.raises(ValueError, match="2 and 3 blocks"):
        ratio_of_medians([1, 2], [1, 2, 3])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_confidence_out_of_range(confidence):
    with pytest.raises(ValueError, match="confidence"):
        median_interval([1, 2], confidence=confidence)


def test_no_samples():
    with pytest.raises(ValueError, match="no samples"):
        median([])
