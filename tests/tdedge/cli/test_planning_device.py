"""``tdedge export --device``: here the device is this machine, reached as any other."""

import json

import onnx_ir as ir
import pytest
from support.graphs import Net

from tdedge.cli.main import run
from tdedge_devices.locks import hold


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TDEDGE_DEVICES", str(tmp_path / "devices.toml"))


@pytest.fixture
def export(tmp_path):
    net = Net(1, 3, 8, 8)
    net.conv("x", 4, 3, 3, 3, name="a")
    net.add("Relu", "a", name="y")
    ir.save(net.model(), tmp_path / "net.onnx")

    def run_export(*arguments) -> int:
        options = ["--to", "onnxruntime", "-o", str(tmp_path / "out"), "--quiet"]
        return run(["export", str(tmp_path / "net.onnx"), *options, *arguments])

    return run_export


def test_the_plan_is_made_on_the_device(export, tmp_path):
    assert run(["devices", "add", "here", "local:", "--set", f"folder={tmp_path / 'jobs'}"]) == 0
    assert export("--device", "here", "--effort", "low", "--cost-table", str(tmp_path / "costs")) == 0
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())["targets"]["onnxruntime"]
    assert plan["device"] == "local:"
    assert (tmp_path / "jobs").is_dir()


def test_effort_none_measures_nothing_there(export, capsys):
    assert export("--device", "local:", "--effort", "none") == 2
    assert "--effort none measures nothing on local:" in capsys.readouterr().err


def test_a_recording_cannot_be_planned_for(export, tmp_path, capsys):
    (tmp_path / "recorded" / "tree").mkdir(parents=True)
    assert export("--device", f"replay:{tmp_path / 'recorded'}") == 2
    assert "replays recordings; plan for a device that measures" in capsys.readouterr().err


def test_a_device_in_use_is_not_taken(export, capsys):
    with hold("local:", "here"):
        assert export("--device", "local:") == 4
    assert "in use" in capsys.readouterr().err
