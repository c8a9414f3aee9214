"""What emulated machines refuse before they boot."""

import json
from pathlib import Path

import onnx_ir as ir
import pytest
from support.graphs import Net

from tdedge.cli.main import run
from tdedge.errors import DeviceError, MissingError, UsageError
from tdedge_devices.address import connect
from tdedge_devices.arm64_image import VERSION, Image
from tdedge_devices.emulated import PROCESSORS
from tdedge_devices.emulated_machine import Machine


@pytest.fixture
def image(tmp_path):
    """The files of an image, none of which would boot."""
    for name in ("kernel", "initramfs.cpio", "key", "known_hosts"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "image.json").write_text(json.dumps({"version": VERSION, "versions": {}}))
    return tmp_path


@pytest.mark.parametrize(
    "url", ["emulated:", "emulated:cortex-a99", "emulated://cortex-a72", "emulated:cortex-a72?x=1"]
)
def test_a_processor_that_is_not_emulated(url, image):
    with pytest.raises(UsageError) as caught:
        connect(url, {"image": str(image)})
    assert repr(url) in caught.value.message
    assert all(f"emulated:{name}" in caught.value.message for name in PROCESSORS)


@pytest.mark.parametrize("memory", ["12", "much", "-4096"])
def test_too_little_memory(memory, image):
    with pytest.raises(UsageError, match=r"memory_mb .* expected at least 1024"):
        connect("emulated:cortex-a72", {"image": str(image), "memory_mb": memory})


def test_no_image_says_how_to_make_one(tmp_path, monkeypatch):
    with pytest.raises(MissingError, match=r"make it with: python -m tdedge_devices\.arm64_image .*none"):
        connect("emulated:cortex-a72", {"image": str(tmp_path / "none")})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(MissingError, match="cache/tdedge/arm64 holds no image"):
        connect("emulated:cortex-a72")


def test_an_image_of_another_version(image):
    (image / "image.json").write_text(json.dumps({"version": VERSION + 1, "versions": {}}))
    with pytest.raises(MissingError, match=rf"of version {VERSION + 1}, this is {VERSION}; .*--force"):
        Image.load(image)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1}', '{"version": 1, "versions": 3}'])
def test_an_image_with_a_broken_description(image, content):
    (image / "image.json").write_text(content)
    with pytest.raises(MissingError, match="holds no image"):
        Image.load(image)


def test_an_image_with_a_part_missing(image):
    (image / "key").unlink()
    with pytest.raises(MissingError, match="key is not there"):
        Image.load(image)


def test_no_qemu_says_how_to_install_it(image):
    with pytest.raises(MissingError, match="qemu-none is not installed; install it with: apt-get install"):
        connect("emulated:cortex-a72", {"image": str(image), "qemu": "qemu-none"})


def test_a_machine_that_ends_at_once_says_why(image, tmp_path):
    """A program in the place of qemu that says what qemu says, and ends."""
    program = tmp_path / "ends"
    program.write_text("#!/bin/sh\necho 'qemu-system-aarch64: could not load kernel' >&2\nexit 3\n")
    program.chmod(0o755)
    machine = Machine(Image.load(image), "cortex-a72", memory_mb=1024, qemu=str(program))
    try:
        with pytest.raises(DeviceError, match=r"ended while it booted \(qemu's code 3\): .*not load kernel"):
            machine.wait(20.0)
    finally:
        machine.close()


def test_a_machine_that_never_answers_is_given_up_and_ended(image, tmp_path):
    program = tmp_path / "hangs"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    program.chmod(0o755)
    machine = Machine(Image.load(image), "cortex-a72", memory_mb=1024, qemu=str(program))
    with pytest.raises(DeviceError, match=r"did not boot in 0.5 s; its console's last line: it said nothing"):
        machine.wait(0.5)
    machine.close()
    machine.close()
    process = int((tmp_path / "pid").read_text())
    assert not alive(process)


def alive(process: int) -> bool:
    """Whether a process runs; one that nobody collected yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("device", "code", "words"),
    [
        ("emulated:cortex-a99", 2, "names no processor that is emulated"),
        ("emulated:cortex-a72", 3, "python -m tdedge_devices.arm64_image"),
        ("nothing", 2, "there is no device 'nothing'"),
    ],
)
def test_exit_codes_of_an_export_for_a_device(tmp_path, monkeypatch, capsys, device, code, words):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TDEDGE_DEVICES", str(tmp_path / "devices.toml"))
    net = Net(1, 3, 8, 8)
    net.conv("x", 4, 3, 3, 3, name="y")
    ir.save(net.model(), tmp_path / "net.onnx")
    arguments = ["export", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "out"), "--to", "onnxruntime"]
    assert run([*arguments, "--device", device]) == code
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
