from pathlib import Path

import pytest

from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.costs import Cost
from tdedge_exporters.planner.screening import few_calls, forms_screened, networks_screened
from tdedge_runtimes.measure import MeasureOptions

OPTIONS = MeasureOptions(min_blocks=9)
INT8 = Target("onnxruntime", "int8")


class Clock:
    """Times files by their names; remembers what it was asked, and how."""

    def __init__(self, **times_ms):
        self.times_ms, self.asked = times_ms, []

    def __call__(self, files, target, options):
        self.asked.append((sorted(files), options.max_blocks))
        return {label: Cost(self.times_ms[label] + (options.max_blocks == 2)) for label in files}


def files(*names):
    return {name: Path(name) for name in names}


def test_short_forms_are_timed_in_full_and_long_ones_are_not():
    clock = Clock(a=3.0, b=5000.0, c=7.0)
    found = forms_screened(clock)(files("a", "b", "c"), INT8, OPTIONS)
    assert clock.asked == [(["a", "b", "c"], 2), (["a", "c"], OPTIONS.max_blocks)]
    assert {label: cost.median_ms for label, cost in found.items()} == {"a": 3.0, "b": 5001.0, "c": 7.0}


def test_where_all_are_long_nothing_is_timed_again():
    clock = Clock(a=3000.0)
    forms_screened(clock)(files("a"), INT8, OPTIONS)
    assert len(clock.asked) == 1


@pytest.mark.parametrize(("plain_ms", "calls"), [(3000.0, 1), (25.0, 2), (11.0, 2)])
def test_networks_are_timed_in_full_where_a_few_calls_do_not_decide(plain_ms, calls):
    clock = Clock(plain=plain_ms, planned=10.0)
    found = networks_screened(clock)(files("plain", "planned"), INT8, OPTIONS)
    assert len(clock.asked) == calls
    assert found["planned"].median_ms == 10.0 + (calls == 1)


def test_of_three_networks_the_clearly_slower_one_is_not_timed_in_full():
    clock = Clock(plain=3000.0, planned=10.0, lent=9.0)
    found = networks_screened(clock)(files("plain", "planned", "lent"), INT8, OPTIONS)
    assert clock.asked == [(["lent", "plain", "planned"], 2), (["lent", "planned"], OPTIONS.max_blocks)]
    assert {label: cost.median_ms for label, cost in found.items()} == {
        "plain": 3001.0,
        "planned": 10.0,
        "lent": 9.0,
    }


def test_few_calls_are_two_after_the_first():
    few = few_calls(OPTIONS)
    assert (few.warmup_calls, few.untimed_calls, few.per_block, few.min_blocks, few.max_blocks) == (
        0,
        0,
        1,
        2,
        2,
    )
