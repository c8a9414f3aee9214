"""This machine as a device: commands, their ends, files."""

import os
import sys
import threading
from pathlib import Path

import pytest
from support.device_jobs import within
from support.sshd import processes

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.address import connect
from tdedge_devices.local import LocalShell

# Starts a grandchild that would outlive it, names both, and waits.
FAMILY = (
    "import subprocess, time\nsubprocess.Popen(['sleep', '{0}'])\nprint('ready', flush=True)\ntime.sleep(99)"
)


@pytest.fixture
def shell(tmp_path):
    shell = LocalShell(tmp_path)
    yield shell
    shell.close()


def gone(text):
    return within(10, lambda: not processes(text))


@pytest.mark.parametrize(
    ("command", "code", "stdout", "stderr"),
    [
        (["printf", "%s", "a b;$HOME"], 0, b"a b;$HOME", b""),
        (["sh", "-c", "echo no >&2; exit 7"], 7, b"", b"no\n"),
        (["sh", "-c", "kill -KILL $$"], 137, b"", b""),
        (["/absent"], 127, b"", b"/absent: No such file or directory"),
    ],
)
def test_commands(shell, command, code, stdout, stderr):
    done = shell.run(command)
    assert (done.code, done.stdout, done.stderr) == (code, stdout, stderr)


def test_much_goes_in_and_out_at_once(shell):
    text = os.urandom(1 << 20)
    assert shell.run(["cat"], stdin=text).stdout == text


def test_input_is_held_open_only_when_asked(shell):
    code = "import os, select; r, _, _ = select.select([0], [], [], 0.3); print('end' if r else 'open')"
    assert shell.run([sys.executable, "-c", code]).text == "end"
    assert shell.run([sys.executable, "-c", code], hold_stdin=True).text == "open"


def test_a_command_that_takes_too_long_dies_with_all_it_started(shell):
    with pytest.raises(DeviceError, match="took longer than 1 s"):
        shell.run([sys.executable, "-c", FAMILY.format("98.125")], timeout_s=1)
    assert gone("sleep 98.125")


def test_a_stream_is_read_and_stopped(shell):
    stream = shell.start([sys.executable, "-c", FAMILY.format("98.25")])
    assert next(stream.lines()) == "ready"
    assert within(10, lambda: processes("sleep 98.25"))
    stream.stop()
    assert gone("sleep 98.25")
    stream.stop()


def test_a_reader_is_freed_when_its_stream_is_stopped(shell):
    stream = shell.start(["sleep", "98.375"])
    reader = threading.Thread(target=lambda: list(stream.lines()))
    reader.start()
    stream.stop()
    reader.join(5)
    assert not reader.is_alive()


def test_closing_ends_what_is_still_read(shell):
    shell.start(["sleep", "98.5"])
    shell.close()
    assert gone("sleep 98.5")


def test_files(shell, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"\0\xff")
    shell.push(source, "new/folder/copy")
    assert shell.read("new/folder/copy") == b"\0\xff"
    shell.pull("new/folder/copy", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"\0\xff"
    assert shell.glob("new/*/c?py") == ["new/folder/copy"]
    assert shell.read("absent") is None
    assert os.listdir(tmp_path / "new" / "folder") == ["copy"]


def test_files_that_cannot_be_copied(shell, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="cannot be copied"):
        shell.push(tmp_path / "file", "file/below")
    with pytest.raises(DeviceError, match="No such file"):
        shell.pull("absent", tmp_path / "back")
    assert os.listdir(tmp_path) == ["file"]


def test_the_address_says_nothing_more(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with connect("local:") as device:
        assert (device.url, device.figure_kind) == ("local:", "measured")
        assert device.python == sys.executable
    with pytest.raises(UsageError, match="expected local:"):
        connect("local://elsewhere")


def test_commands_start_at_home():
    assert LocalShell().run(["pwd", "-P"]).text == str(Path.home().resolve())
