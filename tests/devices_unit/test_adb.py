"""The jobs of an Android device, done by this machine's own shell: the same programs, no adb between."""

import jsonschema
import pytest
from support import programs
from support.networks import save_classifier
from support.tflite_files import conv_bytes, write

from tdedge.errors import MissingError, UsageError
from tdedge_devices.adb import AdbDevice
from tdedge_devices.address import connect
from tdedge_devices.local import LocalShell
from tdedge_devices.tools.binaries import Binary
from tdedge_devices.tools.programs import PROGRAMS
from tdedge_runtimes.client import result_schema
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError

FAST = {"warmup_calls": 2, "warmup_seconds": 0.01, "min_blocks": 2, "max_blocks": 2, "resamples": 100}


@pytest.fixture
def device(tmp_path):
    settings = programs.settings(tmp_path)
    binaries = {name: Binary.of(name, settings) for name in PROGRAMS}
    with AdbDevice(
        LocalShell(tmp_path), binaries, url="adb://here", folder=str(tmp_path / "there")
    ) as device:
        yield device


def test_latency_and_memory(device, tmp_path):
    models = {
        "litert": {"path": str(write(tmp_path / "net.tflite", conv_bytes(8)))},
        "ort": {"path": str(save_classifier(tmp_path / "net.onnx"))},
    }
    result = device.do({"kind": "latency", "models": models, "options": FAST})
    jsonschema.validate(result, result_schema())
    assert result["orders"] == [["litert", "ort"], ["ort", "litert"]]
    assert set(result["ratios"]) == {"ort"}
    result = device.do({"kind": "memory", "model": {"baseline": ".tflite"}, "options": FAST})
    jsonschema.validate(result, result_schema())
    assert result["model"]["memory"]["peak_rss_bytes"]["value"] > 1e6


def test_a_file_that_is_no_model(device, tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    with pytest.raises(RuntimeFailed, match="benchmark_model ended with code 1: ERROR"):
        device.do({"kind": "memory", "model": {"path": str(tmp_path / "bad.tflite")}, "options": FAST})


def test_what_it_does_not_do(device):
    assert "run" not in device.job_kinds
    with pytest.raises(UsageError, match=r"no 'run' job: its benchmark programs give no outputs"):
        device.do({"kind": "run"})
    with pytest.raises(UsageError, match="does no 'dance' job; it does environment, latency, load"):
        device.do({"kind": "dance"})
    with pytest.raises(RuntimeInputError, match=r"measures no \.tflite files in openvino"):
        device.do({"kind": "memory", "model": {"path": "x.tflite", "runtime": "openvino"}})
    with pytest.raises(RuntimeInputError, match="runs is 0"):
        device.do({"kind": "memory", "model": {"baseline": ".onnx"}, "runs": 0})


def test_without_the_program(tmp_path):
    device = AdbDevice(LocalShell(tmp_path), {}, url="adb://here", folder=str(tmp_path))
    with device, pytest.raises(MissingError, match="needs the program onnxruntime_perf_test"):
        device.do({"kind": "memory", "model": {"baseline": ".onnx"}})


@pytest.mark.parametrize(
    ("url", "settings", "said"),
    [
        ("adb://S/x", {}, "nothing may follow the serial"),
        ("adb://S", {"folder": "here"}, "expected an absolute path on the device"),
        ("adb://S", {"adb": "/none"}, "'/none' is no program"),
        ("adb://S", {"benchmark_model": "/none"}, "cannot be read: No such file"),
    ],
)
def test_wrong_addresses_and_settings(url, settings, said):
    with pytest.raises(UsageError, match=said):
        connect(url, settings)
