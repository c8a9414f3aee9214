"""The environment of this machine, and of written /sys and /proc trees."""

import json
import os

import numpy as np
import pytest

from tdedge_runtimes import environment as module


def test_this_machine_in_json():
    described = module.describe_environment()
    text = json.dumps(described, allow_nan=False)
    assert os.uname().nodename not in text or len(os.uname().nodename) < 4
    assert str(module.Path.home()) not in text
    assert described["versions"]["numpy"] == np.__version__
    assert described["affinity"] == sorted(os.sched_getaffinity(0))
    assert described["cores"] >= len(described["affinity"])
    assert described["load_1min"]["kind"] == "measured"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Cortex Z\nprocessor\t: 1\nmodel name\t: other\n", "Cortex Z"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "Arm implementer 0x41 part 0xd08"),
        ("processor : 0\nHardware : BCM2835\n", "BCM2835"),
    ],
)
def test_names_of_processors(text, name):
    assert module.cpu_model(text) == name


def test_an_unnamed_processor_is_called_after_its_machine():
    assert module.cpu_model("nothing here") != ""


def test_clocks_and_governors(tmp_path):
    for core, (governor, clock) in enumerate([("performance", "1800000"), ("schedutil", "600000")]):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(governor + "\n")
        (folder / "scaling_cur_freq").write_text(clock + "\n")
    assert module.governors(tmp_path) == ["performance", "schedutil"]
    assert module.frequencies(tmp_path) == [1800.0, 600.0]


def test_temperatures(tmp_path):
    for zone, (kind, value) in enumerate([("cpu-thermal", "48312"), ("board", "-1500"), ("dead", "")]):
        folder = tmp_path / f"thermal_zone{zone}"
        folder.mkdir()
        (folder / "type").write_text(kind + "\n")
        (folder / "temp").write_text(value + "\n")
    assert module.temperatures(tmp_path) == {
        "thermal_zone0:cpu-thermal": 48.312,
        "thermal_zone1:board": -1.5,
    }


@pytest.mark.parametrize("read", [module.governors, module.frequencies, module.temperatures])
def test_what_is_not_there_has_a_reason(tmp_path, read):
    figure = read(tmp_path)
    assert figure["value"] is None
    assert figure["reason"]


def test_a_runtime_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setitem(module.PACKAGES, "other", ("no-such-runtime",))
    versions = module.versions()
    assert versions["no-such-runtime"] is None
    assert {"numpy", "onnxruntime", "openvino", "ai-edge-litert", "tflite-runtime"} < set(versions)


def test_simd_lanes_of_processors():
    assert module.simd_lanes("x86_64", "flags : fpu avx2 avx512f avx512bw") == 16
    assert module.simd_lanes("x86_64", "flags : fpu avx avx2") == 8
    assert module.simd_lanes("aarch64", "Features : fp asimd") == 8
