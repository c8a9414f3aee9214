"""Integrals against the closed form: trapezoids, counters that begin again, clocks of a sensor's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge_devices.sensors.sensor import Reading
from tdedge_devices.series import Series, collect, unwrapped

EPOCH = 3_600_000_000_000  # an hour after boot

gaps = st.lists(st.integers(1, 500_000_000), min_size=2, max_size=60)
watts = st.floats(0, 100)


def times_of(steps):
    return EPOCH + np.cumsum(np.array(steps, np.int64))


def within(times, first, second):
    """Two moments between the first and the last sample."""
    span = int(times[-1] - times[0])
    return tuple(sorted(int(times[0] + round(share * span)) for share in (first, second)))


@settings(deadline=None)
@given(gaps, watts, st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_straight_line_is_integrated_exactly(steps, start, slope, first, second):
    times = times_of(steps)
    seconds = (times - EPOCH) * 1e-9
    series = Series(times, start + slope * seconds, counter=False)
    begin, end = within(times, first, second)
    a, b = (begin - EPOCH) * 1e-9, (end - EPOCH) * 1e-9
    expected = start * (b - a) + slope * (b * b - a * a) / 2
    assert series.energy_j(begin, end) == pytest.approx(expected, rel=1e-7, abs=1e-7)


@settings(deadline=None)
@given(gaps, st.data(), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_parts_add_up_to_the_whole(steps, data, first, second, third):
    times = times_of(steps)
    values = np.array(data.draw(st.lists(watts, min_size=len(steps), max_size=len(steps))))
    series = Series(times, values, counter=data.draw(st.booleans()))
    begin, middle = within(times, first, second)
    end = max(within(times, third, 1))
    begin, middle, end = sorted((begin, middle, end))
    parts = series.energy_j(begin, middle) + series.energy_j(middle, end)
    assert series.energy_j(begin, end) == pytest.approx(parts, rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(gaps, st.data())
def test_more_power_is_never_less_energy(steps, data):
    times = times_of(steps)
    lower = np.array(data.draw(st.lists(watts, min_size=len(steps), max_size=len(steps))))
    more = np.array(data.draw(st.lists(watts, min_size=len(steps), max_size=len(steps))))
    span = (int(times[0]), int(times[-1]))
    low, high = (Series(times, values, False).energy_j(*span) for values in (lower, lower + more))
    assert low <= high + 1e-9


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 49), min_size=1, max_size=200),
    st.floats(0, 99),
)
def test_a_counter_that_wraps_any_number_of_times(steps, start):
    """As long as less than half of the range passes between two samples."""
    true = start + np.concatenate([[0], np.cumsum(steps)])
    counted, falls = unwrapped(true % 100.0, 100.0)
    assert falls == []
    assert counted - counted[0] == pytest.approx(true - true[0], abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(0, 49), min_size=3, max_size=50), st.data())
def test_a_reset_is_told_and_costs_one_step(steps, data):
    true = 60 + np.concatenate([[0], np.cumsum(steps)])
    at = data.draw(st.integers(1, len(steps)))
    reset = true.copy()
    reset[at:] -= reset[at] - reset[at - 1] + 1  # falls by one joule
    counted, falls = unwrapped(reset, None)
    assert falls == [at]
    lost = true[at] - true[at - 1]
    assert counted[-1] - counted[0] == pytest.approx(true[-1] - true[0] - lost, abs=1e-6)


def test_a_fall_of_less_than_half_the_range_is_a_reset():
    assert unwrapped(np.array([90.0, 95.0, 60.0, 65.0]), 100.0)[1] == [2]


def test_gaps_coverage_and_counts():
    times = EPOCH + np.array([0, 10, 20, 120, 130], np.int64) * 1_000_000
    power = Series(times, np.ones(5), counter=False)
    span = (int(times[0]), int(times[-1]))
    assert power.largest_gap_s(*span) == pytest.approx(0.1)
    assert power.largest_gap_s(int(times[3]), int(times[4])) == pytest.approx(0.01)
    assert power.covers(*span) and not power.covers(span[0] - 1, span[1])
    assert power.count(*span) == 5
    counter = Series(times, np.array([1.0, 1.0, 2.0, 2.0, 3.0]), counter=True)
    assert counter.count(int(times[1]), span[1]) == 2


def test_the_date_does_not_matter_and_a_late_sample_is_a_gap():
    """All moments are monotonic; what a sampler that stood still leaves behind is a gap."""
    moments = [0, 20, 40, 1040, 1060]
    readings = [(EPOCH + ms * 1_000_000, Reading(power_w={"a": 2.0})) for ms in moments]
    series = collect(readings, {}).rails["a"]
    assert series.largest_gap_s(EPOCH, EPOCH + 1_060_000_000) == pytest.approx(1.0)
    assert series.energy_j(EPOCH, EPOCH + 1_060_000_000) == pytest.approx(2.12)


def test_a_clock_of_its_own_is_placed_by_what_came_fastest():
    """Counters taken at 0, 100, 200 ms of another clock and read 3 to 90 ms later."""
    delays = [3, 40, 90, 3, 60]
    readings = [
        (
            EPOCH + (100 * i + delay) * 1_000_000,
            Reading(energy_j={"a": 0.5 * i}, at_ns={"a": 777_000_000_000 + 100_000_000 * i}),
        )
        for i, delay in enumerate(delays)
    ]
    series = collect(readings, {}).rails["a"]
    assert list((series.times_ns - EPOCH) // 1_000_000) == [3, 103, 203, 303, 403]
    assert series.energy_j(EPOCH + 53_000_000, EPOCH + 353_000_000) == pytest.approx(1.5)


def test_a_rail_that_comes_and_goes_is_its_own_series():
    readings = [(1, Reading(power_w={"a": 1.0})), (2, Reading(power_w={"a": 1.0, "b": 3.0}))]
    rails = collect(readings, {}).rails
    assert len(rails["a"].times_ns) == 2 and len(rails["b"].times_ns) == 1


def test_refusals_keep_their_moment():
    readings = [(5, Reading(power_w={"a": 1.0}, refused="charging")), (6, Reading(power_w={"a": 1.0}))]
    assert collect(readings, {}).refusals == [(5, "charging")]
