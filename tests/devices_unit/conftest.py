"""Small networks and artifacts, and a state folder of their own, for devices that are this machine."""

import pytest
from support.networks import save_classifier

from tdedge.cli.main import run as tdedge_run


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """Folder with the artifacts ``base`` and ``small`` of one network, for ONNX Runtime and LiteRT."""
    folder = tmp_path_factory.mktemp("artifacts")
    net = save_classifier(folder / "net.onnx")
    common = [str(net), "--effort", "none", "--to", "onnxruntime,tflite", "-q"]
    assert tdedge_run(["export", *common, "-o", str(folder / "base")]) == 0
    rule = ["--format", "tucker", "--ranks", "2,2"]
    assert tdedge_run(["export", *common, "-o", str(folder / "small"), *rule]) == 0
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Locks, inventory and files of devices in a folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TDEDGE_DEVICES", str(tmp_path / "devices.toml"))
    return tmp_path
