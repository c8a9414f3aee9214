import os
import signal
import subprocess
import sys

import pytest

from tdedge.errors import DeviceError
from tdedge_devices import locks

HOLDER = (
    "import sys, time\nfrom tdedge_devices import locks\n"
    "with locks.hold('ssh://pi@192.0.2.7', 'pi5'):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder():
    """Another process that has the device."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_holder_is_told_and_a_crash_frees(holder):
    with (
        pytest.raises(DeviceError, match=rf"device desk is in use by process {holder.pid} since \d{{4}}-"),
        locks.hold("ssh://root@192.0.2.7", "desk"),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locks.hold("ssh://root@192.0.2.7", "desk"):
        pass


def test_two_devices_do_not_meet(holder):
    with locks.hold("ssh://pi@192.0.2.8", "other"), locks.hold("local:", "here"):
        pass


def test_a_lock_is_free_after_its_block_even_when_that_failed():
    with pytest.raises(ZeroDivisionError), locks.hold("local:", "here"):
        raise ZeroDivisionError
    with locks.hold("local:", "here"):
        pass


def test_one_process_cannot_hold_it_twice():
    with (
        locks.hold("local:", "here"),
        pytest.raises(DeviceError, match=f"process {os.getpid()}"),
        locks.hold("local:", "here"),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(DeviceError, match="cannot lock device here"), locks.hold("local:", "here"):
        pass
