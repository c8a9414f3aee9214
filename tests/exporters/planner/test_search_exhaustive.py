"""What the search chooses, against every consistent choice there is."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.planning import SETTINGS
from support.random_networks import Grower

from tdedge_exporters.planner.candidates import Candidate, Scope, candidates
from tdedge_exporters.planner.layouts import FRAMES, LAST, NATIVE, Label
from tdedge_exporters.planner.search import PREFERENCE, search
from tdedge_exporters.planner.units import Network, network


def coverings(net: Network, offered: list[Candidate]):
    """Every choice that covers each unit once."""
    starting = [[each for each in offered if each.units[0].index == unit.index] for unit in net.units]

    def extend(covered: frozenset[int], chosen: tuple[Candidate, ...]):
        free = next((unit.index for unit in net.units if unit.index not in covered), None)
        if free is None:
            yield chosen
            return
        for each in starting[free]:
            indices = {unit.index for unit in each.units}
            if not indices & covered:
                yield from extend(covered | indices, (*chosen, each))

    return extend(frozenset(), ())


def total(net: Network, chosen, cost, conversion) -> float:
    """Costs of a choice with its conversions, infinite where labels do not fit."""
    given = {value: each.gives for each in chosen for value in each.outputs}
    wanted = {(value, each.reads) for each in chosen for value in each.inputs}
    wanted |= {(value, NATIVE) for value in net.model.graph.outputs}
    spent = sum(cost[id(each)] for each in chosen)
    for value, label in wanted:
        source = given.get(value, NATIVE)
        if source.zeros != label.zeros:
            return float("inf")
        spent += conversion(value, source, label) if source != label else 0.0
    return spent


@settings(SETTINGS, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]))
def test_no_consistent_choice_is_cheaper(seed, axes):
    net = network(Grower(seed, axes).grow(3).model())
    rng = np.random.default_rng(seed)
    offered = candidates(net, Scope(lanes=4, packings=1, layouts=(FRAMES.layout, LAST.layout)))
    # few enough to try every choice: plain ones and a dozen others
    others = [each for each in offered if not each.is_plain]
    kept = set(rng.permutation(len(others))[:12])
    offered = [each for each in offered if each.is_plain] + [others[i] for i in sorted(kept)]
    costs = list(rng.random(len(offered)) + 0.05)
    cost = dict(zip(map(id, offered), costs, strict=True))
    table = {pair: rng.random() / 2 for pair in combinations(("native", "frames", "last"), 2)}

    def conversion(value, source: Label, target: Label) -> float:
        pair = (str(source.layout), str(target.layout))
        return table.get(pair, table.get(pair[::-1]))

    best = search(net, offered, costs, conversion)
    least = min(total(net, chosen, cost, conversion) for chosen in coverings(net, offered))
    assert total(net, best.chosen, cost, conversion) <= least * (1 + 2 * PREFERENCE) + 1e-5
    assert best.cost_ms == pytest.approx(total(net, best.chosen, cost, conversion), rel=2e-3, abs=1e-4)
