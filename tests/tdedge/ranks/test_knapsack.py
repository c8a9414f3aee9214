"""The knapsack against every choice there is."""

from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge.errors import GateError
from tdedge.ranks.knapsack import Picked, front, non_dominated, pick

PAIR = st.tuples(st.integers(0, 20), st.integers(0, 20))
LAYERS = st.lists(st.lists(PAIR, min_size=1, max_size=4), min_size=1, max_size=5)


def brute(costs, losses, budget):
    """The least loss within the budget, then the least cost, over all choices."""
    best = None
    for indices in product(*(range(len(row)) for row in costs)):
        cost = sum(row[i] for row, i in zip(costs, indices, strict=True))
        loss = sum(row[i] for row, i in zip(losses, indices, strict=True))
        if cost <= budget and (best is None or (loss, cost) < best):
            best = (loss, cost)
    return best


@given(LAYERS, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_the_best_of_all_choices(layers, budget):
    costs = [[cost for cost, _ in layer] for layer in layers]
    losses = [[loss for _, loss in layer] for layer in layers]
    expected = brute(costs, losses, budget)
    if expected is None:
        with pytest.raises(GateError, match="the cheapest choice costs"):
            pick(costs, losses, budget)
        return
    found = pick(costs, losses, budget)
    assert (found.loss, found.cost) == expected
    assert found.cost == sum(row[i] for row, i in zip(costs, found.indices, strict=True))


@given(LAYERS)
@settings(max_examples=20, deadline=None)
def test_a_front_falls(layers):
    costs = [[cost for cost, _ in layer] for layer in layers]
    losses = [[loss for _, loss in layer] for layer in layers]
    found = front(costs, losses, 8)
    assert found[0].cost == sum(min(row) for row in costs)
    assert found[-1].loss == sum(min(row) for row in losses)
    for left, right in pairwise(found):
        assert left.cost < right.cost
        assert left.loss > right.loss


def test_beaten_choices_are_left_out():
    points = [Picked((0,), 3.0, 1.0), Picked((1,), 3.0, 2.0), Picked((2,), 1.0, 3.0), Picked((3,), 2.0, 4.0)]
    assert [each.indices for each in non_dominated(points)] == [(0,), (2,)]


def test_no_layers():
    assert pick([], [], 0.0) == Picked((), 0.0, 0.0)
    assert front([], []) == [Picked((), 0.0, 0.0)]
