import numpy as np
import pytest

from tdedge.artifact import FileEntry, IntegerPort, Manifest, TargetEntry
from tdedge.golden import for_target, read_golden, to_integers, to_layout, to_reals


def test_inputs_and_outputs_by_name(tmp_path):
    np.savez(
        tmp_path / "golden.npz", **{"input.x": np.ones(2), "input.output.y": np.zeros(1), "output.y": [3.0]}
    )
    entry = FileEntry.of(tmp_path, tmp_path / "golden.npz")
    manifest = Manifest.model_construct(golden=entry)
    inputs, outputs = read_golden(tmp_path, manifest)
    assert set(inputs) == {"x", "output.y"}
    assert outputs["y"].tolist() == [3.0]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 3, 5, 7), (2, 3, 4, 5, 7)])
def test_channels_last_moves_axis_one_of_what_has_space(shape):
    value = np.arange(np.prod(shape)).reshape(shape)
    assert to_layout({"x": value}, "nchw")["x"] is value
    moved = to_layout({"x": value}, "nhwc")["x"]
    if len(shape) == 2:
        assert np.array_equal(moved, value)
    else:
        assert moved.shape == (shape[0], *shape[2:], shape[1])
        assert moved.flags["C_CONTIGUOUS"]
        assert np.array_equal(np.moveaxis(moved, -1, 1), value)


def test_integers_of_a_file_and_what_they_stand_for():
    ports = {
        "x": IntegerPort(dtype="int8", scale=0.5, zero_point=-28),
        "y": IntegerPort(dtype="uint8", scale=0.25, zero_point=10),
    }
    feed = {"x": np.array([0.0, 1.0, -0.6, 1000.0, -1000.0], np.float32), "n": np.array([3])}
    whole = to_integers(feed, ports)
    assert whole["x"].dtype == np.int8
    assert whole["x"].tolist() == [-28, -26, -29, 127, -128]
    assert whole["n"] is feed["n"]
    real = to_reals({"y": np.array([10, 0, 255], np.uint8), "z": feed["n"]}, ports)
    assert real["y"].dtype == np.float32
    assert real["y"].tolist() == [0.0, -2.5, 61.25]
    assert real["z"] is feed["n"]


def test_a_target_takes_its_layout_and_its_integers():
    entry = TargetEntry.model_construct(
        input_layout="nhwc", integers={"x": IntegerPort(dtype="int8", scale=1.0, zero_point=0)}
    )
    made = for_target({"x": np.arange(12.0).reshape(1, 3, 2, 2)}, entry)["x"]
    assert (made.shape, made.dtype) == ((1, 2, 2, 3), np.int8)
    assert made[0, 0, 0].tolist() == [0, 4, 8]
