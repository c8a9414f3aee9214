"""A recorded device: its files and programs before those of this machine."""

import pytest
from support.boards import Board

from tdedge.errors import DeviceError, UsageError
from tdedge_devices import address, recording

ZONE = "/sys/class/thermal/thermal_zone0/temp"


@pytest.fixture
def folder(tmp_path):
    programs = {"vcgencmd": {"measure_temp": lambda t: "temp=48.8'C"}}
    Board({ZONE: "48800\n"}, programs).shell(tmp_path)
    return tmp_path


def test_files_are_those_of_the_tree(folder):
    with address.connect(f"replay:{folder}") as device:
        shell = device.shell
        (path,) = shell.glob("/sys/class/thermal/thermal_zone*/temp")
        assert path == f"{folder}/tree{ZONE}"
        assert shell.read(path) == shell.read(ZONE) == b"48800\n"
        assert shell.read("/proc/version") is None and shell.glob("/proc/*") == []


def test_programs_are_those_of_the_device(folder):
    with address.connect(f"replay:{folder}") as device:
        assert device.shell.run(["vcgencmd", "measure_temp"]).text == "temp=48.8'C"
        assert device.shell.run(["sh", "-c", "command -v vcgencmd"]).text == f"{folder}/bin/vcgencmd"
        assert (device.url, device.figure_kind) == (f"replay:{folder}", "replayed")
        assert device.recording is None


def test_a_folder_without_anything_of_a_device(tmp_path):
    with pytest.raises(DeviceError, match=r"no tree/, bin/ or recording\.jsonl in"):
        address.connect(f"replay:{tmp_path}")


def test_a_broken_recording_is_told_at_once(tmp_path):
    (tmp_path / recording.FILE).write_text("nonsense")
    with pytest.raises(UsageError, match="line 1: not a line of a recording"):
        address.connect(f"replay:{tmp_path}")


def test_nothing_can_be_done_on_a_recording():
    """Only what was asked then is answered."""
    kept = recording.Recording(answers={'["read", "/a"]': "1"})
    shell = recording.RecordedShell(kept)
    assert (shell.read("/a"), shell.read("/b"), shell.glob("/*")) == (b"1", None, [])
    assert shell.run(["uname"]).code == 127
    with pytest.raises(DeviceError, match="cannot be started on a recording"):
        shell.start(["sleep"])
