"""Statistics of samples, and of samples together."""

import numpy as np
import pytest

from tdedge_exporters.quantize.statistics import BINS, Statistics, together


def tensors(count, relu=False):
    rng = np.random.default_rng(3)
    values = [rng.standard_normal((1, 4, 9, 9)).astype(np.float32) * (1 + at) for at in range(count)]
    return [np.maximum(value, 0) for value in values] if relu else values


def summed(values):
    return together([{"t": Statistics.of(value)} for value in values])["t"]


def test_counts_are_those_of_numpy():
    (value,) = tensors(1)
    one = Statistics.of(value)
    wanted, edges = np.histogram(value, BINS, (value.min(), value.max()))
    np.testing.assert_allclose(one.edges, edges, atol=1e-6)
    assert np.abs(one.histogram - wanted).sum() <= 4, "but for values on an edge"
    assert one.histogram.sum() == value.size


def test_samples_together_have_exact_ends_and_means():
    values = tensors(6)
    found, every = summed(values), np.concatenate(values)
    assert (found.low, found.high) == (every.min(), every.max())
    assert found.lows == [value.min() for value in values]
    assert found.highs == [value.max() for value in values]
    np.testing.assert_array_equal(found.channel_low, every.min(axis=(0, 2, 3)))
    np.testing.assert_array_equal(found.channel_high, every.max(axis=(0, 2, 3)))
    np.testing.assert_allclose(found.channel_mean, every.mean(axis=(0, 2, 3), dtype=float), rtol=1e-6)
    np.testing.assert_allclose(
        found.channel_power, (every.astype(float) ** 2).mean(axis=(0, 2, 3)), rtol=1e-6
    )
    assert found.count == 6


def test_counts_together_are_within_a_bin_or_two_of_all_values():
    values = tensors(6)
    found, every = summed(values), np.sort(np.concatenate(values).ravel())
    assert found.histogram.sum() == pytest.approx(every.size)
    below = np.cumsum(found.histogram)
    width = (found.high - found.low) / BINS
    least = np.searchsorted(every, found.edges[1:] - 2 * width)
    most = np.searchsorted(every, found.edges[1:] + 2 * width, side="right")
    assert (least - 1e-6 <= below).all()
    assert (below <= most + 1e-6).all()


def test_zeros_of_a_relu_stay_in_the_first_bin():
    values = tensors(5, relu=True)
    found = summed(values)
    zeros = sum(int((value == 0).sum()) for value in values)
    assert found.low == 0.0
    assert zeros <= found.histogram[0] <= zeros + 20


@pytest.mark.parametrize("constant", [0.0, 5.0, -3e8, 1e-40])
def test_a_tensor_of_one_number_has_a_range(constant):
    one = Statistics.of(np.full((1, 2, 3), constant, np.float32))
    assert one.low < one.high
    assert one.histogram[0] == one.histogram.sum() == 6
    both = one + Statistics.of(np.full((1, 2, 3), constant + 1, np.float32))
    assert both.histogram.sum() == pytest.approx(12)


def test_a_range_narrower_than_float32_can_scale():
    value = np.array([[0.0, 1e-44, 2e-44]], np.float32)
    assert Statistics.of(value).histogram.sum() == 3


def test_what_is_not_finite_has_no_finite_range():
    assert not np.isfinite(Statistics.of(np.array([[1.0, np.inf]], np.float32)).high)
    assert np.isnan(Statistics.of(np.array([[1.0, np.nan]], np.float32)).high)


def test_without_histograms_there_is_none():
    one = Statistics.of(tensors(1)[0], histogram=False)
    assert len((one + one).histogram) == 0
