"""What the doctor says of this machine, of a device that is gone, and of one that lacks something."""

import pytest

from tdedge.errors import DeviceError, MissingError
from tdedge_devices.doctor import examine
from tdedge_devices.inventory import Named
from tdedge_devices.shell import Done


def test_this_machine(home):
    found = examine(Named("here", "local:"))
    assert (found["reachable"], found["error"], found["exit_code"]) == (True, None, 0)
    assert found["environment"]["versions"]["ai-edge-litert"]
    assert found["conditions"].keys() >= {"celsius", "governors", "frequency_mhz", "bits"}
    assert len(found["sensors"]) >= 8


def test_a_device_that_is_gone():
    def connect(url, settings):
        raise DeviceError("no route to host")

    found = examine(Named("pi5", "ssh://pi:secret@x", {"token": "secret"}), connect)
    assert (found["reachable"], found["error"], found["exit_code"]) == (False, "no route to host", 4)
    assert "secret" not in str(found)


class Fake:
    """A device whose answers are given; it has a shell that says what a command prints."""

    figure_kind = "measured"
    job_kinds = frozenset({"run"})

    def __init__(self, said=None, environment=None):
        self._environment = environment
        self.shell = None if said is None else self
        self._said = said or {}

    def environment(self):
        if isinstance(self._environment, Exception):
            raise self._environment
        return self._environment or {}

    def run(self, command, *, stdin=b"", timeout_s=60.0):
        return Done(0, self._said.get(command[0], "").encode(), b"")

    def read(self, path):
        return None

    def glob(self, pattern):
        return []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_a_runtime_that_is_missing_is_told_of_a_device_that_is_there():
    found = examine(Named("a", "x:"), lambda url, settings: Fake(environment=MissingError("no numpy")))
    assert (found["reachable"], found["error"], found["exit_code"]) == (True, "no numpy", 3)


def test_a_browser_has_no_commands():
    found = examine(Named("a", "x:"), lambda url, settings: Fake())
    assert (found["clock_offset_s"], found["free_bytes"], found["sensors"]) == (None, None, [])


def test_clock_and_space():
    space = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 100 40 60 40% /\n"
    said = {"date": "1000000000", "df": space}
    found = examine(Named("a", "x:"), lambda url, settings: Fake(said))
    assert found["free_bytes"] == 60 * 1024
    assert found["clock_offset_s"] < -60
    assert found["notes"] == [f"its clock is {-found['clock_offset_s']:.0f} s behind this machine's"]


def test_answers_that_make_no_sense_are_unknown():
    found = examine(Named("a", "x:"), lambda url, settings: Fake({"date": "soon", "df": "df: nothing"}))
    assert (found["clock_offset_s"], found["free_bytes"], found["notes"]) == (None, None, [])


@pytest.mark.parametrize("settings", [{"sensors": "rapl"}, {"sensors": "rapl, csv"}, {"sensors": "nonsense"}])
def test_sensors_that_are_asked_for(settings):
    found = examine(Named("a", "x:", settings), lambda url, given: Fake({"date": "x"}))
    names = [name.strip() for name in settings["sensors"].split(",")]
    assert [sensor["name"] for sensor in found["sensors"]] == names
    assert all(sensor["reason"] for sensor in found["sensors"])
    assert found["error"] is None
