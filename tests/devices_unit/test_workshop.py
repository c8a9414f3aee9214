"""Jobs on a device, which here is this machine: files, results, errors, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from support.device_jobs import in_background, left, long_job, nothing_left, worker_of
from support.networks import save_classifier
from support.sshd import kill

from tdedge.errors import DeviceError, MissingError, UsageError
from tdedge_devices.local import LocalShell
from tdedge_devices.workshop import WorkshopDevice
from tdedge_runtimes.client import measure_models, run_job
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, RuntimeMissing
from tdedge_runtimes.measure import MeasureOptions

BRIEF = {"warmup_seconds": 0, "max_seconds": 0, "min_blocks": 2, "resamples": 50}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "device"


@pytest.fixture
def device(folder):
    with WorkshopDevice(LocalShell(), sys.executable, url="local:", folder=str(folder)) as device:
        yield device


@pytest.fixture
def model(tmp_path):
    return str(save_classifier(tmp_path / "net.onnx"))


def test_a_run_gives_what_a_local_one_gives(device, model, tmp_path, folder):
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    for name, do in (("there", device.do), ("here", run_job)):
        do(
            {
                "kind": "run",
                "model": {"path": model},
                "inputs": str(tmp_path / "in.npz"),
                "outputs": str(tmp_path / f"{name}.npz"),
            }
        )
    with np.load(tmp_path / "there.npz") as there, np.load(tmp_path / "here.npz") as here:
        np.testing.assert_array_equal(there["y"], here["y"])
    assert left(folder) == []


def test_models_are_measured_there(device, model, tmp_path, folder):
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    models = {"dense": {"path": model, "inputs": str(tmp_path / "in.npz")}, "again": model}
    result = measure_models(models, MeasureOptions.from_json(BRIEF), do=device.do)
    assert result["models"]["dense"]["latency"]["count"] == 4
    assert result["models"]["again"]["memory"]["own_peak_rss_bytes"]["kind"] == "measured"
    assert str(folder) not in json.dumps(result)
    assert left(folder) == []


def test_figures_say_what_they_are(folder, model):
    device = WorkshopDevice(
        LocalShell(), sys.executable, url="x:", figure_kind="emulated", folder=str(folder)
    )
    with device:
        result = device.do({"kind": "memory", "model": {"path": model}})
    assert result["kind"] == "memory"
    assert result["model"]["memory"]["peak_rss_bytes"]["kind"] == "emulated"
    assert result["model"]["load"]["kind"] == "emulated"


def test_the_environment(device):
    assert device.environment()["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize(
    ("job", "error", "line"),
    [
        ({"kind": "dance"}, UsageError, "local: does no 'dance' job; it does environment, latency,"),
        (
            {"kind": "memory", "model": {"path": "/absent.onnx"}},
            RuntimeInputError,
            "no file at '/absent.onnx'",
        ),
        ({"kind": "memory", "model": None}, RuntimeInputError, "model is None; expected a JSON object"),
        ({"kind": "latency", "models": {"a": 1}}, RuntimeInputError, "model 'a' is 1; expected a JSON"),
        ({"kind": "memory", "model": {"baseline": ".onnx"}, "runs": 0}, RuntimeInputError, "runs is 0"),
    ],
    ids=range(5),
)
def test_wrong_jobs(device, folder, job, error, line):
    with pytest.raises(error, match=line):
        device.do(job)
    if (folder / "jobs").exists():
        assert left(folder) == []


def test_no_python(folder):
    with (
        WorkshopDevice(LocalShell(), "/absent/python", url="x:", folder=str(folder)) as device,
        pytest.raises(MissingError, match=r"x: cannot start '/absent/python' .*setting python"),
    ):
        device.environment()


def test_a_python_without_numpy(folder, tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with (
        WorkshopDevice(LocalShell(), str(bare), url="x:", folder=str(folder)) as device,
        pytest.raises(RuntimeMissing, match="numpy is not installed"),
    ):
        device.environment()
    assert left(folder) == []


def test_a_worker_that_is_killed(device, model, folder):
    joined = in_background(lambda: device.do(long_job(model)))
    kill(worker_of(folder))
    error = joined()
    assert isinstance(error, RuntimeFailed)
    assert "ended by SIGKILL; it may have run out of memory" in error.message
    assert left(folder) == []


@pytest.mark.parametrize("hung", [False, True], ids=["busy", "stopped"])
def test_a_worker_that_takes_too_long(device, model, folder, hung):
    joined = in_background(lambda: device.do(long_job(model), timeout_s=2))
    if hung:
        os.kill(worker_of(folder), signal.SIGSTOP)
    error = joined()
    assert isinstance(error, RuntimeFailed)
    assert "the worker on local: took longer than 2 s and was stopped" in error.message
    assert left(folder) == []


def host(folder, model):
    """A process of its own that has a job done in ``folder``."""
    code = (
        "import sys\nfrom tdedge_devices.local import LocalShell\n"
        "from tdedge_devices.workshop import WorkshopDevice\n"
        "with WorkshopDevice(LocalShell(), sys.executable, url='local:', folder=sys.argv[1]) as device:\n"
        f"    device.do({long_job(model)!r})\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, folder], stderr=subprocess.PIPE, text=True)


def test_an_interrupted_job_leaves_nothing(model, folder):
    with host(folder, model) as process:
        worker_of(folder)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert said.strip().splitlines()[-1] == "KeyboardInterrupt"
    assert left(folder) == []


def test_a_device_that_is_closed_meanwhile(device, model, folder):
    """By another thread, as when several devices are measured and the user interrupts."""
    joined = in_background(lambda: device.do(long_job(model)))
    worker_of(folder)
    device.close()
    error = joined()
    assert isinstance(error, DeviceError)
    assert "the device was closed" in error.message
    assert nothing_left(folder)


def test_a_job_dies_with_its_host(model, folder):
    """The host is killed and can clean nothing up; the worker sees the end of its input."""
    with host(folder, model) as process:
        worker_of(folder)
        process.kill()
    assert nothing_left(folder)


def test_a_module_of_the_archive(device):
    command = device.module_command("tdedge_runtimes.worker")
    done = device.shell.run(command, stdin=b'{"schema_version": 1, "kind": "environment"}')
    assert json.loads(done.stdout)["kind"] == "environment"
