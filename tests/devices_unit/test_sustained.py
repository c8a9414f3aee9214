import pytest

from tdedge_devices import sustained
from tdedge_devices.conditions import Conditions
from tdedge_devices.cooling import Gate

COOL = Gate("cool", 0.0, 45.0, Conditions(celsius=40.0, bits=0))


class Heater:
    """A device that is half as fast after 90 seconds; each job costs it a second to start."""

    def __init__(self, reboot_at: int | None = None) -> None:
        self.now_ns, self.jobs, self.reboot_at = 7_000_000_000, [], reboot_at

    def load(self, seconds):
        self.jobs.append(seconds)
        if len(self.jobs) == self.reboot_at:
            self.now_ns = 0
        self.now_ns += 1_000_000_000
        begin, rows = self.now_ns, []
        for _ in range(round(seconds)):
            ms = 10.0 if self.now_ns < 97_000_000_000 else 20.0
            rows.append([ms] * 4)
            self.now_ns += 1_000_000_000
        load = {"begin_ns": begin, "end_ns": self.now_ns, "inferences": 4, "samples_ms": rows}
        return {"load": {**load, "latency": {"kind": "measured"}}}

    def read(self):
        return Conditions(celsius=40.0 + len(self.jobs), bits=0x4 if len(self.jobs) > 1 else 0)


def test_the_curve_shows_the_drop():
    heater, said = Heater(), []
    curve = sustained.measure(heater.load, 180.0, COOL, heater.read, said.append)
    assert heater.jobs == [60.0, 60.0, pytest.approx(59.0)]  # the seconds between jobs count as time
    assert (curve["first_ms"], curve["last_ms"], curve["slowdown"]) == (10.0, 20.0, 2.0)
    assert curve["complete"]
    assert curve["points"][0]["at_s"] == pytest.approx(1.0)
    assert curve["points"][-1]["at_s"] == pytest.approx(181.0, abs=0.1)
    ordered = [point["at_s"] for point in curve["points"]]
    assert ordered == sorted(ordered)
    assert [one["celsius"] for one in curve["stretches"]] == [41.0, 42.0, 43.0]
    assert [bool(one["throttled"]) for one in curve["stretches"]] == [False, True, True]
    assert said[-1] == "sustained: 181 of 180 s"


def test_a_clock_that_begins_again_does_not_turn_time_back():
    heater = Heater(reboot_at=2)
    curve = sustained.measure(heater.load, 100.0, COOL, heater.read, lambda line: None)
    ordered = [point["at_s"] for point in curve["points"]]
    assert ordered == sorted(ordered)
    assert ordered[-1] == pytest.approx(100.0, abs=1.5)


def test_what_cannot_be_done_has_a_reason():
    assert sustained.unavailable("no") == {"complete": False, "reason": "no", "points": []}
