"""A share of the dense cost, and what it buys."""

import pytest

from tdedge.errors import GateError, UsageError
from tdedge.ranks.budget import Budget, Menu, choose, counted_costs, front
from tdedge.ranks.options import DENSE, Option


def option(name, rank, params):
    return Option(name, () if name == DENSE else (rank, rank), params, params * 10)


OPTIONS = {
    "first": [option(DENSE, 0, 100), option("tucker", 8, 50), option("tt", 4, 20)],
    "second": [option(DENSE, 0, 300), option("tucker", 8, 90)],
}
#: The first layer is slow and little lost by it; the second fast.
MENU = Menu(
    OPTIONS,
    costs={"first": [6.0, 3.0, 2.0], "second": [3.0, 2.5]},
    losses={"first": [0.0, 0.1, 0.3], "second": [0.0, 0.2]},
    rest=1.0,
)


@pytest.mark.parametrize(
    ("text", "kind", "share"), [("latency=0.5", "latency", 0.5), ("params=10%", "params", 0.1)]
)
def test_budgets_in_words(text, kind, share):
    assert Budget.parse(text) == Budget(kind, share)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed=0.5", "unknown 'speed'; expected one of latency, energy, macs, params, size, =0.5"),
        ("latency=2", "expected a share of the dense latency, such as latency=0.5"),
        ("latency=fast", "expected a share of the dense latency"),
        ("latency", "expected a share of the dense latency"),
    ],
)
def test_budgets_that_are_none(text, message):
    with pytest.raises(UsageError, match=message):
        Budget.parse(text)


def test_the_least_loss_within_the_share():
    assert MENU.dense == 10.0
    found = choose(MENU, 0.7)
    assert {name: str(each) for name, each in found.options.items()} == {
        "first": "tucker 8,8",
        "second": DENSE,
    }
    assert (found.cost, found.loss, found.share) == pytest.approx((7.0, 0.1, 0.7))
    assert found.plan.rule_for("first").ranks == (8, 8)
    assert found.plan.rule_for("second") is None
    assert found.to_json()["layers"] == {"first": "tucker 8,8"}


def test_by_parameters_the_other_layer_is_chosen():
    menu = Menu(OPTIONS, counted_costs(OPTIONS, "params"), MENU.losses, unit="parameters")
    assert str(choose(menu, 0.6).options["second"]) == "tucker 8,8"
    assert choose(menu, 0.6).options["first"].is_dense


def test_what_cannot_be_reached():
    with pytest.raises(GateError, match=r"40% of the dense network's 10 ms .* come to 55%"):
        choose(MENU, 0.4)


def test_the_front_from_cheapest_to_dense():
    found = front(MENU)
    assert found[0].share == pytest.approx(0.55)
    assert found[-1].loss == 0
    assert [each.loss for each in found] == sorted((each.loss for each in found), reverse=True)
