import pytest

from tdedge_devices import throttling
from tdedge_devices.conditions import Conditions


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (Conditions(), Conditions(), None),
        (Conditions(bits=0), Conditions(bits=0), None),
        (Conditions(bits=0x50000), Conditions(bits=0x50000), None),
        (Conditions(bits=0), Conditions(bits=0x50005), "under-voltage (vcgencmd get_throttled 0x50005)"),
        (Conditions(bits=0), Conditions(bits=0x40000), "throttled in between"),
        (Conditions(bits=0x40000), Conditions(bits=0xC0000), "soft temperature limit in between"),
        (Conditions(bits=0x2), Conditions(bits=0), "clock capped"),
        (Conditions(states={"cpu": 0}), Conditions(states={"cpu": 0}), None),
        (Conditions(states={"cpu": 0}), Conditions(states={"cpu": 3}), "cpu slows the device down (state 3)"),
        (Conditions(states={"cpu": 2}), Conditions(states={"cpu": 0}), "state 2"),
        (Conditions(counters={"oc1": 4}), Conditions(counters={"oc1": 4}), None),
        (Conditions(counters={"oc1": 4}), Conditions(counters={"oc1": 6}), "oc1 rose by 2"),
        (Conditions(counters={}), Conditions(counters={"oc1": 6}), None),
        (Conditions(ceiling_mhz=[2400]), Conditions(ceiling_mhz=[2400]), None),
        (Conditions(ceiling_mhz=[2400]), Conditions(ceiling_mhz=[1500]), "fell from 2400 to 1500 MHz"),
        (Conditions(ceiling_mhz=[1500]), Conditions(ceiling_mhz=[2400]), None),
    ],
)
def test_reasons(before, after, words):
    found = throttling.reasons(before, after)
    assert bool(found) == (words is not None)
    assert all(words in one for one in found[:1])


def test_now():
    assert throttling.is_slowed(Conditions(bits=0x50000, counters={"oc1": 9})) == []
    assert throttling.is_slowed(Conditions(bits=0x50004)) == ["throttled (vcgencmd get_throttled 0x50004)"]
