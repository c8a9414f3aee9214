"""From candidates to milliseconds, with recorded times in the place of a clock."""

import pytest
from support.graphs import Net
from support.recorded import PLACE, Recording, pricing, units_of

from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.candidates import Scope, candidates
from tdedge_exporters.planner.costs import Cost, CostTable
from tdedge_exporters.planner.layouts import LAST, NATIVE
from tdedge_exporters.planner.pricing import BATCH, IMPOSSIBLE_MS, Pricing
from tdedge_exporters.planner.trials import base_trial, candidate_trial, conversion_trial
from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.measure import MeasureOptions


def chain():
    net = Net(1, 8, 6, 6)
    y = net.add("Softplus", "x")
    for _ in range(2):
        y = net.add("Softplus", net.conv(y, 8, 8, 1, 1))
    return units_of(net)


def trials_of(offered):
    pairs = [candidate_trial(each, 18) for each in offered]
    return {each.sha256 for trial, ports in pairs for each in (trial, *(base_trial(p, 18) for p in ports))}


def test_every_trial_is_timed_once_in_batches():
    offered = candidates(chain(), Scope())
    measure, table = Recording(lambda _: 2.0), CostTable()
    prices = pricing(table, measure)
    prices.prepare(offered, [])
    asked = [sha256 for call in measure.asked for sha256 in call]
    assert len(asked) == len(set(asked))
    assert set(asked) == trials_of(offered)  # equal layers share theirs
    assert len(asked) < 2 * len(offered)
    assert max(map(len, measure.asked)) <= BATCH
    assert prices.measured == len(asked) == len(list(table.rows()))
    again = Recording(lambda _: 9.0)
    resumed = pricing(table, again)
    resumed.prepare(offered, [])
    assert (again.asked, resumed.measured) == ([], 0)


def test_a_trial_that_fails_is_impossible_and_the_others_are_not():
    offered = candidates(chain(), Scope())
    bad = candidate_trial(offered[1], 18)[0].sha256
    table = CostTable()

    def fails(files, target, options):
        if bad in files:
            raise RuntimeFailed("the worker was ended by SIGKILL")
        return {label: Cost(1.0) for label in files}

    prices = pricing(table, fails)
    prices.prepare(offered, [])
    assert prices.candidate_ms(offered[1]) == IMPOSSIBLE_MS
    others = [each for each in offered if candidate_trial(each, 18)[0].sha256 != bad]
    assert all(prices.candidate_ms(each) < 2 for each in others)


def test_what_was_interrupted_goes_on():
    net = Net(1, 8, 6, 6)
    y = "x"
    for into, out in ((8, 7), (7, 6), (6, 5), (5, 4)):
        y = net.add("Tanh", net.conv(y, out, into, 3, 3, pads=1))
    offered = candidates(units_of(net), Scope())
    table, calls = CostTable(), []

    def breaks(files, target, options):
        calls.append(files)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {label: Cost(1.0) for label in files}

    with pytest.raises(KeyboardInterrupt):
        pricing(table, breaks).prepare(offered, [])
    kept = len(list(table.rows()))
    assert kept == BATCH
    rest = Recording(lambda _: 1.0)
    pricing(table, rest).prepare(offered, [])
    assert sum(map(len, rest.asked)) == len(trials_of(offered)) - kept


def test_half_of_the_bases_is_taken_off():
    net = chain()
    plain = next(each for each in candidates(net, Scope()) if each.units[0].index == 1)
    trial, ports = candidate_trial(plain, 18)
    table = CostTable()
    table.put(PLACE, trial.sha256, trial.key, Cost(5.0))
    prices = pricing(table, Recording(lambda _: 0.0))
    assert ports[0] == ports[1]
    table.put(PLACE, base_trial(ports[0], 18).sha256, {}, Cost(3.0))
    assert prices.candidate_ms(plain) == 5.0 - 3.0
    table.put(PLACE, trial.sha256, trial.key, Cost(0.5))
    assert prices.candidate_ms(plain) == 0.0


def test_conversions_are_priced_like_forms():
    net = chain()
    value = net.units[0].outputs[0]
    trial, ports = conversion_trial(value, NATIVE, LAST, 18)
    table = CostTable()
    table.put(PLACE, trial.sha256, trial.key, Cost(4.0))
    for port, ms in zip(ports, (1.0, 3.0), strict=True):
        table.put(PLACE, base_trial(port, 18).sha256, {}, Cost(ms))
    assert pricing(table, Recording(lambda _: 0.0)).conversion_ms(value, NATIVE, LAST) == 2.0


def test_what_was_not_timed_is_impossible():
    net = chain()
    (plain, *_) = candidates(net, Scope())
    assert pricing(CostTable(), Recording(lambda _: 0.0)).candidate_ms(plain) == IMPOSSIBLE_MS


def test_form_whose_adapters_were_not_timed_is_impossible():
    net = chain()
    plain = next(each for each in candidates(net, Scope()) if each.units[0].index == 1)
    trial, _ = candidate_trial(plain, 18)
    table = CostTable()
    table.put(PLACE, trial.sha256, trial.key, Cost(5.0))
    assert pricing(table, Recording(lambda _: 0.0)).candidate_ms(plain) == IMPOSSIBLE_MS


def test_integers_timed_with_conversions_at_their_ends_do_not_count():
    offered = list(candidates(chain(), Scope()))
    table, clock = CostTable(), Recording(lambda _: 1.0)
    for trial, ports in (candidate_trial(each, 18) for each in offered):
        for each in (trial, *(base_trial(port, 18) for port in ports)):
            table.put(PLACE, each.sha256, each.key, Cost(9.0))
    integers = Pricing(table, PLACE, Target("openvino", "int8"), clock, MeasureOptions(), 18)
    integers.prepare(offered, [])
    assert sum(map(len, clock.asked)) == len(trials_of(offered))
    assert {row["key"].get("ends") for row in table.rows() if row["median_ms"] == 1.0} == {"int8"}
    assert max(integers.candidate_ms(each) for each in offered) <= 1.0
