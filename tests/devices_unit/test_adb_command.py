"""Finding adb, and what its errors mean."""

import pytest

from tdedge.errors import MissingError, UsageError
from tdedge_devices.adb_command import Adb, find_adb


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("error: device offline", "S is offline: plug it in again"),
        ("adb: device offline", "S is offline"),
        ("offline", "S is offline"),
        (
            "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set",
            "S does not trust this",
        ),
        ("error: device 'S' not found", "no device S is connected: 'adb devices' lists"),
        ("adb: device 'S' not found", "no device S is connected"),
        ("error: no devices/emulators found", "no Android device is connected"),
        ("error: more than one device/emulator", "name one of them, as adb://SERIAL"),
        ("error: device still connecting", "try again in a few seconds"),
        ("error: insufficient permissions for device: user in plugdev group; no permissions", "udev rules"),
    ],
)
def test_known_errors(text, meant):
    assert meant in Adb("adb", "S").explain(text)


@pytest.mark.parametrize("text", ["", "bash: x: command not found", "file offline", "some device not found"])
def test_what_a_command_says_is_no_error_of_adb(text):
    assert Adb("adb", "S").explain(text) == ""


def test_command_line():
    assert Adb("/a/adb", "S").line("shell", "x") == ["/a/adb", "-s", "S", "shell", "x"]
    assert Adb("/a/adb").line("devices") == ["/a/adb", "devices"]


def test_finding_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="adb is not installed; install it with: apt-get install adb"):
        find_adb()
    program = tmp_path / "adb"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_adb() == find_adb(str(program)) == str(program)
    with pytest.raises(UsageError, match="'/none' is no program"):
        find_adb("/none")
