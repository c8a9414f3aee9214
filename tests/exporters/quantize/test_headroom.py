import numpy as np
import pytest
from support.eight_bits import samples
from support.graphs import Net

from tdedge_exporters.quantize import headroom, quantize, ranges, report
from tdedge_exporters.quantize.calibrate import observe
from tdedge_exporters.quantize.headroom import with_headroom
from tdedge_exporters.quantize.settings import TRIED, Int8


def ends_of(draws):
    """(low, high, smallest and largest of every sample) of draws (samples, values)."""
    return min(draws.min(), 0.0), max(draws.max(), 0.0), [draws.min(axis=1)], [draws.max(axis=1)]


def test_ends_of_a_tensor_of_many_values_stay():
    draws = np.random.default_rng(0).standard_normal((32, 50_000))
    low, high, *extremes = ends_of(draws)
    moved = with_headroom(low, high, *extremes, draws.size)
    assert low * 1.05 <= moved[0] <= low
    assert high <= moved[1] <= high * 1.05


@pytest.mark.parametrize("draw", ["standard_exponential", "standard_normal", "gumbel"])
def test_one_value_per_sample_gets_room_for_those_to_come(draw):
    """What is lost on a million samples to come, by ends from 32 that were seen, twenty times over."""
    rng = np.random.default_rng(1)
    come = getattr(rng, draw)(size=1_000_000)

    def lost(low, high):
        grid = ranges.Grid.of_range(low, high)
        return ((grid.round(come) - come) ** 2).mean()

    before, after = [], []
    for _ in range(20):
        low, high, *extremes = ends_of(getattr(rng, draw)(size=(32, 1)))
        before.append(lost(low, high))
        after.append(lost(*with_headroom(low, high, *extremes, 32)))
    assert np.mean(after) < 0.05 * np.mean(before)
    assert max(after) < max(before)


def test_what_says_nothing_moves_nothing():
    one, alike = np.array([3.0]), np.array([3.0, 3.0, 3.0])
    assert with_headroom(0.0, 3.0, [one * 0], [one], 1) == (0.0, 3.0)
    assert with_headroom(-1.0, 3.0, [alike / -3], [alike], 3) == (-1.0, 3.0)
    empty = np.zeros(0)
    assert with_headroom(-1.0, 3.0, [empty], [empty], 0) == (-1.0, 3.0)


def test_an_end_of_zero_stays():
    low, high = with_headroom(0.0, 3.0, [np.zeros(4)], [np.array([1.0, 2.0, 3.0, 2.0])], 4)
    assert low == 0.0
    assert high > 3.0


def test_both_ends_are_treated_alike():
    lows, highs = np.array([-1.0, -2.0, -3.0, -2.0]), np.array([4.0, 4.5, 4.1, 4.2])
    low, high = with_headroom(-3.0, 4.5, [lows], [highs], 40)
    assert with_headroom(-4.5, 3.0, [-highs], [-lows], 40) == pytest.approx((-high, -low), rel=0.05)


def test_what_is_cut_off_is_the_mean_of_many_draws():
    place, scale = 2.0, 0.7
    draws = np.random.default_rng(2).gumbel(place, scale, 4_000_000)
    ends = np.array([-1.0, 1.5, 3.0, 5.0])
    expected = [(np.maximum(draws - end, 0) ** 2).mean() for end in ends]
    assert headroom._cut(ends, place, scale) == pytest.approx(expected, rel=0.02)
    assert headroom._gumbel(draws) == pytest.approx((place, scale), rel=0.01)


def test_ranges_have_room_where_a_tensor_has_one_value_per_sample():
    """The network of a published rank of 1: one number per sample, of which 24 samples show too little."""
    net = Net(1, 8, 6, 6)
    net.add("GlobalAveragePool", "x", name="pooled")
    net.add("Flatten", "pooled", name="flat")
    net.add("Gemm", "flat", net.weight(1, 8), transB=1, name="one")
    net.add("Gemm", "one", net.weight(4, 1), net.weight(4), transB=1, name="y")
    model = net.model()
    learn, come = samples(model, 24), samples(model, 500, seed=7)
    statistics = observe(model, ["one"], learn)[0]["one"]
    assert len(statistics.lows) == len(statistics.highs) == 24
    assert (min(statistics.lows), max(statistics.highs)) == pytest.approx((statistics.low, statistics.high))
    found = {method: quantize.quantize(model, learn, Int8(method=method, equalise=False)) for method in TRIED}
    for made in found.values():
        grid = made.grids.activations["one"]
        assert grid.high - grid.low > 1.3 * (statistics.high - statistics.low)
        assert report.outputs_sqnr_db(model, made.model, come) > 30
