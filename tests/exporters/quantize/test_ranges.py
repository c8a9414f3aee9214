import numpy as np
import pytest

from tdedge.errors import UsageError
from tdedge_exporters.quantize import ranges
from tdedge_exporters.quantize.statistics import BINS, Statistics


def statistics(values):
    low, high = float(values.min()), float(values.max())
    counts = np.histogram(values, BINS, (low, high))[0].astype(float)
    none = np.zeros(0)
    return Statistics(low, high, counts, none, none, none, none, 1)


def error(grid, values):
    return float(((grid.round(values) - values) ** 2).mean())


def normal(size=200_000, seed=0):
    return np.random.default_rng(seed).standard_normal(size)


def test_min_max_loses_nothing():
    values = normal()
    grid = ranges.grid([statistics(values)], "minmax")
    assert grid.low <= values.min() + grid.scale
    assert grid.high >= values.max() - grid.scale


def test_mse_is_the_best_of_all_for_the_mean_squared_error():
    for values in (normal(), np.maximum(normal(), 0), normal() ** 3):
        errors = {name: error(ranges.grid([statistics(values)], name), values) for name in ranges.methods()}
        assert errors["mse"] <= 1.02 * min(errors.values())


@pytest.mark.parametrize("method", ["mse", "percentile", "entropy"])
def test_outliers_are_cut_off(method):
    values = np.append(normal(), [300.0])
    grid = ranges.grid([statistics(values)], method)
    whole = ranges.grid([statistics(values)], "minmax")
    if method == "mse":
        assert error(grid, values) <= error(whole, values)
    else:
        assert grid.high < 0.5 * whole.high


@pytest.mark.parametrize("method", ["mse", "percentile", "entropy"])
def test_a_smooth_tensor_is_hardly_cut(method):
    for values in (normal(), np.maximum(normal(), 0)):
        grid = ranges.grid([statistics(values)], method)
        assert grid.high > 0.6 * values.max()
        assert 10 * np.log10((values**2).mean() / error(grid, values)) > 35


def test_what_is_never_negative_uses_all_levels():
    for method in ranges.methods():
        assert ranges.grid([statistics(np.maximum(normal(), 0))], method).zero_point == 0


def test_tensors_that_share_a_grid_are_all_on_it():
    narrow, wide = normal(seed=1), 10 * normal(seed=2) + 5
    grid = ranges.grid([statistics(narrow), statistics(wide)], "minmax")
    assert grid.high >= wide.max() - grid.scale
    assert grid.low <= wide.min() + grid.scale


def test_an_unknown_method_is_refused():
    with pytest.raises(UsageError, match="expected one of best, mse, minmax"):
        ranges.grid([statistics(normal(100))], "finest")
