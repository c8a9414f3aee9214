import zipfile

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tdedge.errors import UsageError
from tdedge_exporters.inputs import load_npz, random_inputs

SHAPE = (2, 3, 8, 8)


def network(nodes=(), inputs=()):
    """Takes "x" and, for ``nodes`` to read, a weight "v" of four rows."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"]), *nodes],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE), *inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(np.ones((4, 5), np.float32), "v")],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def test_random_inputs_are_seeded_and_differ_by_set():
    model = network()
    first, second = random_inputs(model, 5, 2)
    again = random_inputs(model, 5, 2)
    assert np.array_equal(first["x"], again[0]["x"])
    assert not np.array_equal(first["x"], second["x"])
    assert not np.array_equal(first["x"], random_inputs(model, 6, 1)[0]["x"])
    assert (first["x"].shape, first["x"].dtype) == (SHAPE, np.float32)


def test_random_integers_fit_what_they_index():
    infos = [
        helper.make_tensor_value_info("i", TensorProto.INT64, [200]),
        helper.make_tensor_value_info("u", TensorProto.UINT8, [500]),
        helper.make_tensor_value_info("n", TensorProto.INT32, [200]),
        helper.make_tensor_value_info("f", TensorProto.BOOL, [200]),
    ]
    model = network(inputs=infos, nodes=[helper.make_node("Gather", ["v", "i"], ["g"])])
    (feed,) = random_inputs(model, 0, 1)
    assert set(feed["i"]) == {0, 1, 2, 3}
    assert feed["u"].max() > 200
    assert (feed["n"].dtype, feed["n"].min(), feed["n"].max()) == (np.int32, 0, 9)
    assert feed["f"].dtype == np.bool_


def test_npz_round_trip(tmp_path):
    model = network()
    (feed,) = random_inputs(model, 0, 1)
    np.savez(tmp_path / "in.npz", **feed)
    (loaded,) = load_npz(tmp_path / "in.npz", model)
    assert np.array_equal(loaded["x"], feed["x"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros(SHAPE, np.float32)}, r"holds arrays \['z'\]; the network takes \['x'\]"),
        (
            {"x": np.zeros((1, 3, 8, 8), np.float32)},
            r"shape \(1, 3, 8, 8\); the network takes \(2, 3",
        ),
        ({"x": np.zeros(SHAPE)}, r"is float64; the network takes float32, write it with .astype"),
        ({"x": np.full(SHAPE, np.nan, np.float32)}, "holds NaN or infinity"),
        ({"x": np.array([object()])}, "is not a readable .npz file"),
    ],
)
def test_bad_npz_is_refused_in_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(UsageError, match=message) as caught:
        load_npz(tmp_path / "in.npz", network())
    assert "in.npz" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_broken_npz_is_refused(tmp_path, content):
    (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(UsageError, match="is not a readable"):
        load_npz(tmp_path / "in.npz", network())


def test_other_files_are_no_npz(tmp_path):
    np.save(tmp_path / "in.npy", np.zeros(3))
    with pytest.raises(UsageError, match="holds a single array"):
        load_npz(tmp_path / "in.npy", network())
    with zipfile.ZipFile(tmp_path / "in.npz", "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(UsageError):
        load_npz(tmp_path / "in.npz", network())
    with pytest.raises(UsageError, match="is not a readable"):
        load_npz(tmp_path / "missing.npz", network())
