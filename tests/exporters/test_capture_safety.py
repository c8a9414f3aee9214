"""Hostile and broken inputs: each ends in one clear line, and nothing it asks for happens."""

import os
import pickle

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.refusing import Bomb, refused
from torch import nn

from tdedge.errors import UsageError
from tdedge_exporters import safe_onnx, static
from tdedge_exporters.capture import capture, load_module

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


def proto(weight=None, shape=(2, 3)):
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 4))],
            [weight or numpy_helper.from_array(WEIGHT, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


def external(folder, location="w.bin", *, dims=(3, 4), extra=(), **entries):
    """A model in ``folder`` whose weight lies at ``location``; nothing is written there."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in [("location", location), *entries.items(), *extra]:
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "net.onnx"
    onnx.save_model(proto(tensor), path)
    return path


@pytest.fixture
def home(tmp_path):
    """A model's folder beside a secret it must not reach."""
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


def test_external_data_beside_the_model_is_read(home):
    (home / "w.bin").write_bytes(b"pad!" + WEIGHT.tobytes())
    captured = capture(external(home, offset=4, length=48))
    assert np.array_equal(captured.model.graph.initializers["w"].const_value.numpy(), WEIGHT)
    (home / "sub").mkdir()
    (home / "sub" / "w.bin").write_bytes(WEIGHT.tobytes())
    captured = capture(external(home, "sub/w.bin"))
    (home / "sub" / "w.bin").unlink()
    assert np.array_equal(captured.model.graph.initializers["w"].const_value.numpy(), WEIGHT)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "sub/../../secret.bin", "./../secret.bin", "..\\secret.bin"]
)
def test_external_data_cannot_leave_the_folder(home, location):
    (home / "sub").mkdir()
    refused(external(home, location), "may lie outside the model's folder")


def test_absolute_external_data_is_refused(home):
    for location in (
        str(home.parent / "secret.bin"),
        str(home / "w.bin"),
        "C:\\w.bin",
        "\\\\host\\w.bin",
        "",
    ):
        (home / "w.bin").write_bytes(WEIGHT.tobytes())
        refused(external(home, location), "expected a path relative to the model's folder")


def test_relative_model_path_does_not_disable_the_checks(home, monkeypatch):
    """With a bare file name the folder's name is empty; the working folder is the model's folder."""
    monkeypatch.chdir(home)
    external(home, "../secret.bin")
    refused("net.onnx", "may lie outside")
    external(home)
    refused("net.onnx", "No such file")
    (home / "w.bin").write_bytes(WEIGHT.tobytes())
    assert capture("net.onnx").name == "net"


def test_links_are_refused(home):
    (home / "w.bin").symlink_to(home.parent / "secret.bin")
    refused(external(home), "goes through a symbolic link")
    (home / "w.bin").unlink()
    (home / "sub").symlink_to(home.parent)
    refused(external(home, "sub/secret.bin"), "goes through a symbolic link")
    os.link(home.parent / "secret.bin", home / "w.bin")
    refused(external(home), "has hard links elsewhere")


def test_only_plain_files_are_read(home):
    refused(external(home), "No such file")
    (home / "w.bin").mkdir()
    refused(external(home), "is not a file")
    (home / "w.bin").rmdir()
    os.mkfifo(home / "w.bin")
    refused(external(home), "is not a file")


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"offset": 4}, "44 bytes of external data; its shape needs 48"),
        ({"offset": 1000}, "lie outside 'w.bin'"),
        ({"length": 1 << 60}, "lie outside 'w.bin'"),
        ({"offset": 40, "length": 48}, "bytes 40 to 88 lie outside"),
        ({"length": 44}, "44 bytes of external data; its shape needs 48"),
        ({"offset": -4}, "offset '-4' of its external data is not a non-negative integer"),
        ({"length": "4e9"}, "length '4e9' of its external data is not"),
        ({"offset": "9" * 5000}, "is not a non-negative integer"),
        ({"dims": (1 << 40, 1 << 40)}, "its shape needs"),
        ({"dims": (-3, -4)}, "impossible shape"),
        ({"extra": [("location", "other.bin")]}, "describes its external data twice"),
    ],
)
def test_ranges_outside_the_file_are_refused(home, entries, match):
    (home / "w.bin").write_bytes(WEIGHT.tobytes())
    refused(external(home, **entries), match)


def test_external_data_has_a_total_limit(home, monkeypatch):
    (home / "w.bin").write_bytes(WEIGHT.tobytes())
    path = external(home)
    monkeypatch.setattr(safe_onnx, "MAX_EXTERNAL_BYTES", 47)
    refused(path, "external data of more than")


def test_external_data_of_attributes_is_checked_too(home):
    tensor = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=(3, 4))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    inner = helper.make_graph([helper.make_node("Constant", [], ["k"], value=tensor)], "inner", [], [])
    network = proto()
    network.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    onnx.save_model(network, home / "net.onnx")
    refused(home / "net.onnx", "tensor 'hidden': external data at '../secret.bin' may lie outside")


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not a model", b"\x08\xff\xff\xff", b"PK\x03\x04"])
def test_files_that_are_no_model(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    refused(path, r"net\.onnx is not a (readable|valid) ONNX model: ")


def test_missing_files_and_folders(tmp_path):
    refused(tmp_path / "net.onnx", "is not a readable ONNX model: No such file")
    (tmp_path / "net.onnx").mkdir()
    refused(tmp_path / "net.onnx", "not a file")


def test_file_size_is_checked_before_reading(tmp_path, monkeypatch):
    onnx.save_model(proto(), tmp_path / "net.onnx")
    monkeypatch.setattr(safe_onnx, "MAX_FILE_BYTES", 10)
    refused(tmp_path / "net.onnx", "at most 10 are possible")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_files_never_escape_as_other_errors(tmp_path, cuts):
    data = bytearray(proto().SerializeToString())
    for position, value in cuts:
        data[position % len(data)] = value
    path = tmp_path / "net.onnx"
    path.write_bytes(bytes(data))
    try:
        capture(path)
    except UsageError as error:
        assert error.message


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.99])
def test_truncated_files(tmp_path, keep):
    data = proto().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(data[: int(len(data) * keep)])
    refused(tmp_path / "net.onnx", "is not a")


def test_tensor_that_lies_about_its_size(tmp_path):
    tensor = numpy_helper.from_array(WEIGHT, "w")
    tensor.dims[0] = 1 << 40
    onnx.save_model(proto(tensor), tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", "tensor 'w' stores 48 bytes; its shape needs")


def test_invalid_graphs(tmp_path):
    network = proto()
    network.graph.node[0].input[0] = "nowhere"
    onnx.save_model(network, tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", "is not a valid ONNX model")
    network = proto()
    network.graph.node[0].op_type = "NoSuchOperator"
    onnx.save_model(network, tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", "NoSuchOperator")


def test_small_file_cannot_ask_for_a_huge_tensor(tmp_path, monkeypatch):
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape")
    network = proto(shape, shape=(1,))
    del network.graph.node[:]
    network.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["f"]))
    network.graph.node.append(helper.make_node("Add", ["f", "x"], ["y"]))
    network.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save_model(network, tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", r"takes 4096.0 GiB; at most 4 GiB")
    monkeypatch.setattr(static, "MAX_TENSOR_BYTES", 10)
    onnx.save_model(proto(), tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", "are accepted")


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("from torch import nn\ndef make():\n    return nn.Linear(3, 4)\n")
    return f"{path}:make"


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_pickled_objects_are_not_loaded_as_weights(tmp_path, factory, suffix):
    marker, path = tmp_path / "marker", tmp_path / f"w{suffix}"
    for content in (Bomb(marker), {"weight": torch.zeros(4, 3), "bias": Bomb(marker)}, nn.Linear(3, 4)):
        torch.save(content, path)
        with pytest.raises(UsageError, match="holds pickled objects beside tensors and is not loaded"):
            load_module(factory, weights=path)
    path.write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(UsageError):
        load_module(factory, weights=path)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64, b"PK\x03\x04"])
def test_broken_weights(tmp_path, factory, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"w\.(safetensors|pt)"):
        load_module(factory, weights=path)


def test_weights_that_are_no_state(tmp_path, factory):
    for content in ([torch.zeros(3)], {"weight": 3}, torch.zeros(3)):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(UsageError, match="expected a state dict"):
            load_module(factory, weights=tmp_path / "w.pt")
    with pytest.raises(UsageError, match="does not exist"):
        load_module(factory, weights=tmp_path / "missing.pt")
    with pytest.raises(UsageError, match="unknown suffix"):
        load_module(factory, weights=tmp_path / "w.bin")
