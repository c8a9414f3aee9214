"""Emulated Arm machines that really boot: qemu, Debian's arm64 kernel, an SSH server, both runtimes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from support import eight_bits
from support.graphs import Net

from tdedge.artifact import read_manifest
from tdedge.cli.main import run
from tdedge.errors import DeviceError, MissingError
from tdedge_devices.address import connect
from tdedge_devices.arm64_image import Image, build
from tdedge_exporters.lowering import Target, lower
from tdedge_runtimes.client import run_job

URL = "emulated:cortex-a72"
#: Few calls: every one takes the same.
COUNTED = {
    "warmup_calls": 0,
    "warmup_seconds": 0.0,
    "untimed_calls": 0,
    "per_block": 1,
    "min_blocks": 2,
    "max_blocks": 2,
    "resamples": 1,
}


@pytest.fixture(scope="session")
def image():
    """An image, made once and kept with the other large things of these tests."""
    if shutil.which("qemu-system-aarch64") is None:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        install = [
            "apt-get",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "qemu-system-arm",
            "ipxe-qemu",
        ]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    folder = Path.home() / ".cache" / "tdedge-tests" / "emulated-image"
    try:
        return Image.load(folder)
    except MissingError:
        shutil.rmtree(folder, ignore_errors=True)
        return build(folder)


@pytest.fixture(scope="module")
def settings(image):
    return {"image": str(image.folder)}


@pytest.fixture(scope="module")
def device(settings):
    with connect(URL, settings) as booted:
        yield booted


@pytest.fixture(scope="module")
def other(settings):
    """A second machine, booted apart."""
    with connect(URL, settings) as booted:
        yield booted


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Runtime -> file of a convolution network that takes some milliseconds."""
    net = Net(1, 16, 24, 24)
    net.conv("x", 32, 16, 3, 3, pads=1, bias=True, name="a")
    net.add("Relu", "a", name="b")
    net.conv("b", 16, 32, 3, 3, pads=1, name="y")
    folder = tmp_path_factory.mktemp("net")
    return {name: lower(net.model(), folder, Target(name)).entry for name in ("onnxruntime", "tflite")}


def qemus() -> set[int]:
    """Process ids of every qemu that runs."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_qemu = b"qemu-system-aarch64" in (folder / "cmdline").read_bytes().split(b"\0")[0]
            if is_qemu and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def wait_until_gone(processes: set[int], seconds: float = 15.0) -> set[int]:
    """Those of ``processes`` that still run after at most so long."""
    deadline = time.monotonic() + seconds
    while (left := processes & qemus()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def figures(device, path) -> tuple[dict, float, int]:
    """(the latency entry, milliseconds, peak bytes) of a file on a device; the least of three processes."""
    model = {"path": str(path)}
    latency = device.do({"kind": "latency", "models": {"net": model}, "options": COUNTED})
    job = {"kind": "memory", "model": model, "options": COUNTED, "runs": 2}
    peaks = [device.do(job)["model"]["memory"]["peak_rss_bytes"]["value"] for _ in range(3)]
    entry = latency["models"]["net"]["latency"]
    return entry, entry["median_ms"], min(peaks)


def test_it_is_the_processor_that_was_asked_for(device):
    environment = device.environment()
    assert (environment["machine"], environment["cores"]) == ("aarch64", 1)
    assert environment["cpu_model"] == "Arm implementer 0x41 part 0xd08"  # Cortex-A72
    assert environment["simd_lanes"] == 8
    here = run_job({"kind": "environment"})["environment"]["versions"]
    for package in ("numpy", "onnxruntime", "ai-edge-litert"):
        assert environment["versions"][package] == here[package]


def test_commands_and_files_go_over_ssh(device, tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4096)
    device.shell.push(tmp_path / "file", "folder/file")
    done = device.shell.run(["sha256sum", "folder/file"])
    device.shell.pull("folder/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    assert done.code == 0
    assert device.shell.run(["sh", "-c", "exit 7"]).code == 7


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
def test_the_same_model_on_two_machines_takes_the_same(device, other, files, runtime):
    """Booted apart, beside a busy processor the second time: within 0.5 % in time and 1 % in memory."""
    entry, first_ms, first_bytes = figures(device, files[runtime])
    assert entry["kind"] == "emulated"
    assert entry["method"].startswith("instruction time of an emulated cortex-a72, 1 ns per instruction")
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        _, second_ms, second_bytes = figures(other, files[runtime])
    finally:
        busy.kill()
        busy.wait()
    assert second_ms == pytest.approx(first_ms, rel=0.005)
    assert second_bytes == pytest.approx(first_bytes, rel=0.01)
    assert first_ms > 1
    assert 30e6 < first_bytes < 300e6


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
def test_outputs_are_those_of_this_machine(device, files, runtime, tmp_path):
    inputs = tmp_path / "in.npz"
    np.savez(inputs, x=np.random.default_rng(0).standard_normal((1, 16, 24, 24)).astype(np.float32))
    outputs = {}
    for name, do in (("there", device.do), ("here", run_job)):
        path = tmp_path / f"{name}.npz"
        job = {"kind": "run", "model": {"path": str(files[runtime])}, "inputs": str(inputs)}
        do({**job, "outputs": str(path)})
        with np.load(path) as arrays:
            outputs[name] = dict(arrays)
    (name,) = outputs["here"]
    scale = np.abs(outputs["here"][name]).max()
    assert np.abs(outputs["there"][name] - outputs["here"][name]).max() < 1e-5 * scale


def test_integers_agree(device, tmp_path):
    """This processor has no dot products of 8 bits: its kernels are others than those of newer ones."""
    targets = ("onnxruntime:int8", "tflite:int8")
    eight_bits.assert_as_here(device, eight_bits.exported(eight_bits.residual(), tmp_path, *targets))


def test_an_export_is_planned_for_it(settings, tmp_path, monkeypatch, capsys):
    """A factor chain whose plain form wastes the lanes of NEON: the plan takes fewer instructions."""
    net = Net(1, 4, 24, 24)
    net.conv("x", 2, 4, 1, 1, name="a")
    net.conv("a", 2, 2, 7, 7, pads=3, name="b")
    net.conv("b", 6, 2, 1, 1, bias=True, name="c")
    net.add("Relu", "c", name="y")
    ir.save(net.model(), tmp_path / "net.onnx")
    monkeypatch.setenv("TDEDGE_DEVICES", str(tmp_path / "devices.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run(["devices", "add", "pi4", URL, "--set", f"image={settings['image']}"]) == 0
    capsys.readouterr()
    arguments = ["export", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "out"), "--to", "tflite"]
    options = [
        "--device",
        "pi4",
        "--effort",
        "low",
        "--cost-table",
        str(tmp_path / "costs.sqlite"),
        "--quiet",
    ]
    assert run([*arguments, *options]) == 0, capsys.readouterr().err
    entry = read_manifest(tmp_path / "out").targets[0]
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())["targets"]["tflite"]
    assert (plan["device"], plan["check"]["kind"], plan["lanes"]) == (URL, "emulated", 8)
    assert plan["machine"].startswith("emulated:cortex-a72, instruction time: ")
    assert "ms of instruction time" in entry.plan.why
    assert entry.plan.kept == "planned"
    assert entry.plan.plain_ms / entry.plan.planned_ms > 1.2


def test_a_machine_that_does_not_boot_says_its_last_line_and_is_ended(image, tmp_path):
    broken = tmp_path / "image"
    broken.mkdir()
    for name in ("kernel", "key", "known_hosts", "image.json"):
        (broken / name).symlink_to(image.folder / name)
    (broken / "initramfs.cpio").write_bytes(b"no archive")
    before = qemus()
    with pytest.raises(DeviceError, match=r"ended while it booted .*Kernel panic"):
        connect(URL, {"image": str(broken)})
    assert not wait_until_gone(qemus() - before)


_BOOT = "import sys; from tdedge_devices.address import connect; connect(*eval(sys.argv[1]))"


@pytest.mark.parametrize(("end", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, None)])
def test_qemu_ends_with_the_program_that_booted_it(settings, end, code):
    before = qemus()
    command = [sys.executable, "-c", f"{_BOOT}; input()", repr((URL, settings))]
    booting = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (started := qemus() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert started
    booting.send_signal(end)
    booting.wait(30)
    assert code is None or booting.returncode == code
    assert not wait_until_gone(started)


def test_a_machine_that_is_killed_is_a_lost_device(settings, files):
    before = qemus()
    with connect(URL, settings) as lost:
        (process,) = qemus() - before
        job = {"kind": "latency", "models": {"net": {"path": str(files["tflite"])}}}
        threading.Timer(4.0, os.kill, (process, signal.SIGKILL)).start()
        with pytest.raises(DeviceError, match=r"emulated:cortex-a72|was lost"):
            lost.do({**job, "options": {**COUNTED, "max_blocks": 10**6, "max_seconds": 600.0}})
    assert process not in qemus()
