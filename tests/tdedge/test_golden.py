import numpy as np
import pytest

from tdedge.artifact import FileEntry, Manifest
from tdedge.golden import read_golden, to_layout


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
