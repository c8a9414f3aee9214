"""Files on a device: once each, whole, and not when there is no room."""

import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tdedge.errors import DeviceError
from tdedge_devices.local import LocalShell
from tdedge_devices.shipping import Parcel, Store
from tdedge_runtimes.errors import RuntimeInputError


class CountingShell(LocalShell):
    """Remembers what is pushed."""

    def __init__(self, folder):
        super().__init__(folder)
        self.pushed = []

    def push(self, source, destination):
        self.pushed.append(source.name)
        super().push(source, destination)


@pytest.fixture
def shell(tmp_path):
    return CountingShell(tmp_path)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"weights")
    return path


def put(shell, *paths):
    store = Store(shell, "device", "box")
    parcels = [store.parcel(str(path)) for path in paths]
    store.put(parcels)
    return [store.path(parcel) for parcel in parcels]


def test_a_file_travels_once(shell, model, tmp_path):
    [there] = put(shell, model)
    assert put(shell, model) == [there]
    assert shell.pushed == ["model.tflite"]
    assert there.startswith(f"{tmp_path}/device/files/") and there.endswith("/model.tflite")
    assert shell.read(there) == b"weights"
    assert (tmp_path / "device").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", [b"weight", b"WEIGHTS"])
def test_a_damaged_file_travels_again(shell, model, damage, tmp_path):
    [there] = put(shell, model)
    (tmp_path / there).write_bytes(damage)
    put(shell, model)
    assert shell.read(there) == b"weights"
    assert len(shell.pushed) == 2


def test_a_changed_file_is_another(shell, model):
    store = Store(shell, "device", "box")
    first = store.parcel(str(model))
    model.write_bytes(b"other weights")
    assert store.parcel(str(model)).digest != first.digest


def test_weights_lie_beside_their_network(shell, tmp_path):
    (tmp_path / "net.xml").write_text("<net/>")
    (tmp_path / "net.bin").write_bytes(b"1")
    [there] = put(shell, tmp_path / "net.xml")
    assert shell.read(there.replace(".xml", ".bin")) == b"1"
    (tmp_path / "net.bin").write_bytes(b"2")
    assert put(shell, tmp_path / "net.xml") != [there]


def external(path, location="net.data"):
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [weight],
    )
    model = helper.make_model(graph)
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    if location != "net.data":
        path.write_bytes(path.read_bytes().replace(b"net.data", location.encode()))
    return path


def test_external_data_travels_with_its_graph(shell, tmp_path):
    [there] = put(shell, external(tmp_path / "net.onnx"))
    data = shell.read(there.replace("net.onnx", "net.data"))
    assert data == (tmp_path / "net.data").read_bytes()


def test_external_data_outside_the_folder_stays(tmp_path):
    path = external(tmp_path / "net.onnx", "../other")
    with pytest.raises(RuntimeInputError, match=r"outside its folder: '\.\./other'"):
        Parcel.of(path)


def test_a_file_that_is_absent(shell):
    with pytest.raises(RuntimeInputError, match="no file at '/absent'"):
        put(shell, "/absent")


def test_no_room(shell, tmp_path):
    huge = tmp_path / "huge.tflite"
    with huge.open("wb") as stream:
        stream.truncate(1 << 20)
    store = Store(shell, "device", "box")
    parcel = store.parcel(str(huge))
    vast = Parcel(parcel.digest, tuple((n, p, 1 << 60, d) for n, p, _, d in parcel.files))
    with pytest.raises(DeviceError, match=r"box is full: .* the files need 1152921504607\.9 MB; make room"):
        store.put([vast])
    assert shell.pushed == []


def test_a_folder_that_cannot_be_made(shell, tmp_path):
    (tmp_path / "device").write_text("a file")
    with pytest.raises(DeviceError, match=r"box: the folder device cannot be used: .*File exists"):
        put(shell, tmp_path / "device")


def test_what_nobody_used_for_long_goes(shell, model, tmp_path):
    [there] = put(shell, model)
    old = tmp_path / "device" / "jobs" / "lost"
    old.mkdir()
    for path, days in ((Path(there).parent, 8), (old, 2)):
        then = time.time() - days * 86_400
        os.utime(path, (then, then))
    other = tmp_path / "other.tflite"
    other.write_bytes(b"x")
    put(shell, other)
    assert shell.read(there) is None
    assert not old.exists()
