"""An arm64 machine over SSH: a Debian root of its own with its own OpenSSH server, run by qemu.

Export here, run and measure there. Times and memory of an emulated processor mean nothing and are not looked
at; that outputs agree does.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import eight_bits
from support.device_jobs import in_background, models_in_parity, within
from support.networks import save_classifier
from support.sshd import arm64_server, processes

from tdedge.errors import DeviceError
from tdedge_devices.address import connect
from tdedge_exporters.export import export
from tdedge_runtimes.client import measure_models
from tdedge_runtimes.measure import MeasureOptions

BRIEF = MeasureOptions(warmup_seconds=0.0, max_seconds=0.0, min_blocks=2, resamples=50)
CACHE = Path.home() / ".cache" / "tdedge-tests" / "arm64"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    script = Path(__file__).parent / "arm64" / "build_root.sh"
    subprocess.run([script], check=True, env={**os.environ, "PIP": f"{sys.executable} -m pip"})
    server = arm64_server(CACHE, tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def device(server):
    with connect(server.url, {**server.settings, "folder": "/var/tmp/tdedge"}) as device:
        yield device


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    export(save_classifier(folder / "net.onnx"), folder / "out", to=("onnxruntime", "tflite"))
    return folder / "out"


def test_it_is_another_machine(device):
    environment = device.environment()
    assert environment["machine"] == "aarch64"
    assert environment["versions"]["onnxruntime"]
    assert environment["versions"]["ai-edge-litert"]


def test_export_bench_parity(device, artifact, tmp_path):
    models = models_in_parity(device, artifact, tmp_path)
    result = measure_models(models, BRIEF, do=device.do, memory=False)
    assert result["environment"]["machine"] == "aarch64"
    assert [result["models"][runtime]["latency"]["count"] for runtime in models] == [4, 4]
    assert device.shell.glob("/var/tmp/tdedge/jobs/*") == []


@pytest.mark.parametrize("network", [eight_bits.residual, eight_bits.clip])
@pytest.mark.parametrize("integer_io", [False, True])
def test_integers_agree(device, network, integer_io, tmp_path):
    """Arm's kernels sum and round in ways of their own; the signal-to-noise ratio is that of this machine."""
    targets = ["tflite:int8"] if integer_io else ["onnxruntime:int8", "tflite:int8", "tflite:int8-weights"]
    artifact = eight_bits.exported(network(), tmp_path, *targets, integer_io=integer_io)
    eight_bits.assert_as_here(device, artifact)


def test_the_connection_is_cut_in_the_middle(server, artifact):
    """The worker ends there too, and its folder goes."""
    model = {"path": str(artifact / "model.onnx"), "runtime": "onnxruntime"}
    settings = {**server.settings, "folder": "/var/tmp/tdedge-cut"}
    jobs = CACHE / "root" / "var" / "tmp" / "tdedge-cut" / "jobs"
    with connect(server.url, settings) as device:
        joined = in_background(lambda: device.do({"kind": "load", "model": model, "seconds": 300}))
        assert within(60, lambda: jobs.exists() and any(jobs.iterdir()))
        server.cut()
        assert isinstance(joined(10), DeviceError)
    assert within(20, lambda: not any(jobs.iterdir()) and not processes("/var/tmp/tdedge-cut/files"))
