import numpy as np
import pytest
from support.eight_bits import residual, samples

from tdedge.errors import UsageError
from tdedge_exporters.quantize.calibrate import Runner, observe, split_samples


def test_statistics_are_those_of_the_tensors():
    model = residual()
    feeds = samples(model, 3)
    (seen,) = observe(model, ["x", "a"], feeds)
    x = np.concatenate([feed["x"] for feed in feeds])
    a = np.concatenate([values["a"] for values in Runner(model).run(feeds, ["a"])])
    for name, array in (("x", x), ("a", a)):
        one = seen[name]
        assert (one.low, one.high) == (array.min(), array.max())
        np.testing.assert_allclose(one.channel_mean, array.mean(axis=(0, 2, 3)), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.channel_power, (array**2).mean(axis=(0, 2, 3)), rtol=1e-5)
        np.testing.assert_array_equal(one.channel_high, array.max(axis=(0, 2, 3)))
        assert one.histogram.sum() == pytest.approx(array.size)
        middles = (one.edges[1:] + one.edges[:-1]) / 2
        np.testing.assert_allclose((middles * one.histogram).sum() / array.size, array.mean(), atol=5e-3)


def test_large_networks_are_read_in_parts(monkeypatch):
    monkeypatch.setattr("tdedge_exporters.quantize.calibrate._MOST_BYTES", 5000)
    model = residual()
    names = ["x", "a", "c", "d", "e"]
    assert len(Runner(model).chunks(names)) > 2
    feeds = samples(model, 2)
    (seen,) = observe(model, names, feeds)
    assert set(seen) == set(names)


def test_every_part_has_its_own_samples():
    model = residual()
    feeds = samples(model, 5)
    for part, mine in zip(observe(model, ["a"], feeds, 2), (feeds[::2], feeds[1::2]), strict=True):
        (alone,) = observe(model, ["a"], mine)
        np.testing.assert_array_equal(part["a"].histogram, alone["a"].histogram)
        assert (part["a"].count, part["a"].lows) == (len(mine), alone["a"].lows)
    assert len(observe(model, ["a"], feeds[:1], 2)) == 1


def test_a_tensor_that_is_not_finite_is_refused():
    model = residual()
    (feed,) = samples(model, 1)
    feed["x"][0, 0, 0, 0] = np.inf
    with pytest.raises(UsageError, match="not finite on the calibration data"):
        observe(model, ["x"], [feed])


def test_no_sample_is_refused():
    with pytest.raises(UsageError, match="no sample"):
        observe(residual(), ["x"], [])


def test_samples_are_cut_into_the_networks_batches():
    model = residual()
    arrays = {"x": np.zeros((5, 3, 16, 16), np.float32)}
    assert [feed["x"].shape[0] for feed in split_samples(model, arrays)] == [1] * 5
    assert len(split_samples(model, arrays, most=2)) == 2
