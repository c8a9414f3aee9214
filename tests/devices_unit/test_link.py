import threading
import time

import pytest

from tdedge.errors import DeviceError, UsageError
from tdedge_devices import link as link_module
from tdedge_devices.link import Link


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(link_module, "_PAUSES_S", (0.01,))


class Cable:
    """Devices of which each does so many jobs before its connection is lost."""

    def __init__(self, *lives: int) -> None:
        self.lives, self.made, self.closed = list(lives), 0, 0

    def connect(self):
        if not self.lives:
            raise DeviceError("nobody answers")
        self.made += 1
        cable, left = self, [self.lives.pop(0)]

        class One:
            def do(self, job, *, timeout_s):
                left[0] -= 1
                if left[0] < 0:
                    raise DeviceError("cut")
                return {"job": job, "timeout_s": timeout_s}

            def close(self):
                cable.closed += 1

        return One()


def test_a_lost_connection_is_made_again():
    cable, said = Cable(1, 1), []
    link = Link(cable.connect, lost=said.append, timeout_s=5)
    assert link.do({"n": 1}) == {"job": {"n": 1}, "timeout_s": 5}
    assert link.do({"n": 2}, 10)["timeout_s"] == 15
    assert (cable.made, cable.closed) == (2, 1)
    assert said == ["connection lost, trying again: cut"]
    link.close()
    assert cable.closed == 2


def test_after_so_many_times_it_is_lost():
    cable = Cable(0, 0, 0, 0)
    with pytest.raises(DeviceError, match="cut"):
        Link(cable.connect, reconnects=2).do({})
    assert cable.made == cable.closed == 3


def test_other_errors_are_not_tried_again():
    cable = Cable(9)
    with pytest.raises(UsageError):
        Link(cable.connect).call(lambda device: (_ for _ in ()).throw(UsageError("no")))
    assert cable.made == 1


def test_closing_ends_a_pause_and_connects_no_more():
    cable = Cable(1)
    link = Link(cable.connect)
    threading.Timer(0.05, link.close).start()
    start = time.monotonic()
    with pytest.raises(DeviceError, match="was closed"):
        link.pause(30)
    assert time.monotonic() - start < 10
    with pytest.raises(DeviceError, match="was closed"):
        link.do({})
    assert cable.made == 0
