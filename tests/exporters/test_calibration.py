import numpy as np
import pytest
from support.eight_bits import residual, save_samples
from support.graphs import Net

from tdedge.errors import UsageError
from tdedge_exporters.calibration import check_calibration, load_calibration
from tdedge_exporters.lowering import Target


@pytest.mark.parametrize(
    ("count", "calibrating", "held_out"), [(1, 1, 1), (2, 1, 1), (8, 6, 2), (16, 12, 4), (80, 32, 16)]
)
def test_the_last_quarter_is_held_out(tmp_path, count, calibrating, held_out):
    model = residual()
    path = save_samples(tmp_path / "data.npz", model, count)
    found = load_calibration(path, model, 32)
    assert (len(found.samples), len(found.held_out)) == (calibrating, held_out)
    with np.load(path) as data:
        assert np.array_equal(found.samples[0]["x"], data["x"][:1])
        assert np.array_equal(found.held_out[-1]["x"], data["x"][-1:])
    assert found.warnings == ()
    if count > 1:
        told = {feed["x"].tobytes() for feed in found.samples}
        assert not told & {feed["x"].tobytes() for feed in found.held_out}


def test_samples_fill_the_batch(tmp_path):
    net = Net(2, 3, 8, 8)
    net.conv("x", 4, 3, 3, 3, name="y")
    model = net.model()
    np.savez(tmp_path / "data.npz", x=np.ones((9, 3, 8, 8), np.float32))
    found = load_calibration(tmp_path / "data.npz", model, 32)
    assert (len(found.samples), len(found.held_out)) == (3, 1)
    assert found.samples[0]["x"].shape == (2, 3, 8, 8)
    np.savez(tmp_path / "few.npz", x=np.ones((1, 3, 8, 8), np.float32))
    with pytest.raises(UsageError, match="the network takes 2 at a time"):
        load_calibration(tmp_path / "few.npz", model, 32)


def test_random_samples_are_seeded_and_warned_of():
    model = residual()
    one, two, other = (load_calibration("random", model, 6, seed) for seed in (1, 1, 2))
    assert (len(one.samples), len(one.held_out)) == (6, 2)
    assert np.array_equal(one.samples[0]["x"], two.samples[0]["x"])
    assert not np.array_equal(one.samples[0]["x"], other.samples[0]["x"])
    assert "unknown" in one.warnings[0]


def test_int8_needs_data_and_data_need_eight_bits():
    whole, weights, full = (Target("openvino", p) for p in ("int8", "int8-weights", "float32"))
    with pytest.raises(UsageError, match=r"openvino:int8 needs data .* --calibration FILE\.npz .*random"):
        check_calibration([full, whole], None)
    with pytest.raises(UsageError, match="calibration data are for 8-bit targets: pass --int8"):
        check_calibration([full], "data.npz")
    check_calibration([weights, full], None)
    check_calibration([weights], "data.npz")
    check_calibration([whole, full], "random")


def test_data_of_another_network_are_refused(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.ones((4, 3, 9, 9), np.float32))
    with pytest.raises(UsageError, match=r"shape \(4, 3, 9, 9\); expected \(samples, 3, 16, 16\)"):
        load_calibration(tmp_path / "data.npz", residual(), 32)
