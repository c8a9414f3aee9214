import pytest

from tdedge_devices.conditions import Conditions
from tdedge_devices.cooling import cool_down


class Oven:
    """A device that cools towards its room with the time that passes."""

    def __init__(self, start: float, rest: float, seconds: float) -> None:
        self.now, self.start, self.rest, self.seconds = 0.0, start, rest, seconds

    def read(self) -> Conditions:
        gap = self.start - self.rest
        return Conditions(celsius=self.rest + gap * 2 ** (-self.now / self.seconds))

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def gate(self, limit=45.0, longest_s=300.0):
        return cool_down(
            self.read, limit_celsius=limit, longest_s=longest_s, pause=self.pause, clock=lambda: self.now
        )


def test_a_cool_device_does_not_wait():
    gate = Oven(40, 40, 1).gate()
    assert (gate.state, gate.waited_s, gate.reason) == ("cool", 0, "")


def test_a_warm_device_is_waited_for():
    gate = Oven(70, 30, 60).gate()
    assert gate.state == "cool"
    assert gate.conditions.celsius < 45
    assert 80 <= gate.waited_s <= 95  # 40 x 2^(-t/60) = 15 at 85 s


def test_a_device_that_rests_above_the_limit_is_not_waited_for_in_vain():
    gate = Oven(55, 55, 60).gate()
    assert (gate.state, gate.reason) == ("resting", "")
    assert gate.waited_s == pytest.approx(60, abs=5)


def test_a_device_that_is_still_hot_is_told():
    gate = Oven(90, 20, 400).gate(longest_s=100)
    assert gate.state == "hot"
    assert gate.waited_s == pytest.approx(100)
    assert "began at 78.9 degrees Celsius after 100 s of cooling; the limit is 45" in gate.reason


def test_no_temperature_is_no_gate():
    assert cool_down(Conditions, limit_celsius=45, longest_s=10).state == "unknown"


def test_the_time_of_a_slow_reading_is_no_waiting():
    oven = Oven(40, 40, 1)

    def slowly():
        oven.now += 9
        return oven.read()

    gate = cool_down(slowly, limit_celsius=45, longest_s=10, pause=oven.pause, clock=lambda: oven.now)
    assert (gate.state, gate.waited_s) == ("cool", 0)
