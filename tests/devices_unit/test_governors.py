"""Setting a governor in a tree of files that stands for a device's."""

import subprocess
from types import SimpleNamespace

import pytest
from support.tree_shell import TreeShell

from tdedge.errors import DeviceError, UsageError
from tdedge_devices import governors
from tdedge_devices.link import Link
from tdedge_devices.shell import Done


class PathShell(TreeShell):
    """Commands of this machine; the last word of one is a path below a folder that stands for the root."""

    def run(self, command, *, stdin=b"", timeout_s=60.0) -> Done:
        *words, last = command
        place = str(self.root / last.lstrip("/")) if last.startswith("/") else last
        done = subprocess.run([*words, place], input=stdin, capture_output=True)
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def link(tmp_path):
    device = SimpleNamespace(shell=PathShell(tmp_path), close=lambda: None)
    return Link(lambda: device)


@pytest.fixture
def policies(tmp_path):
    found = []
    for number, governor in ((0, "ondemand"), (4, "schedutil")):
        policy = tmp_path / f"sys/devices/system/cpu/cpufreq/policy{number}"
        policy.mkdir(parents=True)
        (policy / "scaling_governor").write_text(governor)
        (policy / "scaling_available_governors").write_text("ondemand performance schedutil\n")
        found.append(policy / "scaling_governor")
    return found


def test_it_is_set_and_put_back(link, policies):
    said = []
    with governors.held(link, "performance", said.append):
        assert [policy.read_text() for policy in policies] == ["performance", "performance"]
    assert [policy.read_text() for policy in policies] == ["ondemand", "schedutil"]
    assert said == ["governor performance, before ondemand, schedutil"]


def test_it_is_put_back_after_a_failure(link, policies):
    with pytest.raises(ZeroDivisionError), governors.held(link, "performance", print):
        raise ZeroDivisionError
    assert policies[0].read_text() == "ondemand"


def test_nothing_is_touched_unless_asked(link, policies):
    with governors.held(Link(lambda: pytest.fail("connected")), None, print):
        assert policies[0].read_text() == "ondemand"


def test_a_governor_it_does_not_have(link, policies):
    words = "--governor turbo: the device has ondemand, performance, schedutil"
    with pytest.raises(UsageError, match=words), governors.held(link, "turbo", print):
        pass
    assert policies[0].read_text() == "ondemand"


def test_a_device_without_cpufreq(link):
    with pytest.raises(UsageError, match="exposes no cpufreq"), governors.held(link, "turbo", print):
        pass


def test_a_device_that_refuses(link, policies):
    policies[0].unlink()
    policies[0].mkdir()
    with pytest.raises(UsageError, match="takes root on the device"), governors.held(link, "ondemand", print):
        pass


def test_a_device_without_commands():
    browser = Link(lambda: SimpleNamespace(shell=None, close=lambda: None))
    with pytest.raises(UsageError, match="runs no commands"), governors.held(browser, "ondemand", print):
        pass


def test_a_device_that_is_lost_does_not_hide_the_first_error(link, policies):
    with pytest.raises(DeviceError, match="cut"), governors.held(link, "performance", print):
        link.close()
        raise DeviceError("cut")
