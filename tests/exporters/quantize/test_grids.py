import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdedge_exporters.quantize.grids import LEVELS, Grid, WeightGrid

reals = st.floats(-1e4, 1e4, allow_nan=False, width=32)


@given(reals, reals)
def test_a_grid_holds_zero_and_reaches_both_ends(first, second):
    low, high = min(first, second), max(first, second)
    grid = Grid.of_range(low, high)
    assert 0 <= grid.zero_point <= LEVELS
    assert grid.round(np.zeros(1, np.float32))[0] == 0
    assert grid.low <= min(low, 0.0) + 0.51 * grid.scale
    assert grid.high >= max(high, 0.0) - 0.51 * grid.scale


@given(st.lists(st.floats(-3, 5, width=32), min_size=1, max_size=50))
def test_inside_its_range_a_number_moves_by_half_a_step_at_most(values):
    grid = Grid.of_range(-3, 5)
    array = np.array(values, np.float32)
    assert np.abs(grid.round(array) - array).max() <= 0.51 * grid.scale
    assert grid.round(array).dtype == np.float32


def test_outside_it_is_cut_off():
    grid = Grid.of_range(0.0, 2.55)
    assert grid.zero_point == 0
    np.testing.assert_array_equal(grid.quantise(np.array([-1.0, 0.0, 1.0, 9.0])), [0, 0, 100, 255])


@pytest.mark.parametrize("axis", [0, 1])
def test_every_output_channel_of_a_weight_has_its_own_scale(axis):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 6, 3)).astype(np.float32)
    weight *= 10.0 ** np.arange(weight.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
    grid = WeightGrid.of(weight, axis)
    error = np.abs(grid.round(weight) - weight)
    assert (error <= 0.5001 * grid.spread(3)).all()
    assert np.abs(grid.quantise(weight)).max(axis=tuple({0, 1, 2} - {axis})).tolist() == [127] * len(
        grid.scales
    )


def test_a_channel_of_zeros_stays_zero():
    weight = np.zeros((2, 3), np.float32)
    np.testing.assert_array_equal(WeightGrid.of(weight, 0).round(weight), weight)
