"""A budget: ranks that lose least while the whole network costs at most a share of the dense one.

    latency=0.5    measured time on the target, half of the dense network's
    macs, params   multiply-accumulates, parameters
    size           bytes of the weights: parameters, at one precision
    energy         taken as proportional to time: the power of a target is near constant over the forms

What layers do not cost (pools, element-wise steps) is the network's cost less that of its layers, and stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tdedge.errors import GateError, UsageError
from tdedge.plan import CompressionPlan
from tdedge.ranks import knapsack
from tdedge.ranks.options import Option, plan_of

#: Budgets by what a layer's cost is.
MEASURED = ("latency", "energy")
COUNTED = {"macs": "macs", "params": "params", "size": "params"}


@dataclass(frozen=True)
class Budget:
    """What the network may cost, as a share of what the dense one costs.

    Attributes:
        kind: ``latency``, ``energy``, ``macs``, ``params`` or ``size``.
        share: above 0 and below 1.
    """

    kind: str
    share: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """From ``KIND=SHARE``, such as ``latency=0.5`` or ``params=10%``.

        Raises:
            UsageError: another kind, or no share between 0 and 1.
        """
        kind, _, value = text.partition("=")
        kinds = (*MEASURED, *COUNTED)
        if kind not in kinds:
            raise UsageError(f"--budget {text!r}: unknown {kind!r}; expected one of {', '.join(kinds)}, =0.5")
        share = parse_share(value)
        if share is None or not 0 < share < 1:
            raise UsageError(f"--budget {text!r}: expected a share of the dense {kind}, such as {kind}=0.5")
        return cls(kind, share)

    @property
    def is_measured(self) -> bool:
        """Whether its costs are times on the target."""
        return self.kind in MEASURED

    def __str__(self) -> str:
        return f"{self.kind}={self.share:g}"


def parse_share(text: str) -> float | None:
    """``0.5`` or ``50%`` as 0.5; None where it is no number."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Menu:
    """Every option of every layer, with what it costs and loses.

    Attributes:
        options: layer -> options, the dense one first.
        costs: layer -> option -> cost.
        losses: layer -> option -> loss.
        rest: what the dense network costs beside its layers.
        unit: of the costs.
    """

    options: Mapping[str, Sequence[Option]]
    costs: Mapping[str, Sequence[float]]
    losses: Mapping[str, Sequence[float]]
    rest: float = 0.0
    unit: str = "ms"

    @property
    def dense(self) -> float:
        """Cost of the dense network."""
        return self.rest + sum(row[0] for row in self.costs.values())


@dataclass(frozen=True)
class Chosen:
    """One choice for a whole network.

    Attributes:
        options: layer -> option.
        cost: of the whole network.
        loss: sum over the layers.
        share: cost, over that of the dense network.
    """

    options: Mapping[str, Option] = field(default_factory=dict)
    cost: float = 0.0
    loss: float = 0.0
    share: float = 1.0

    @property
    def plan(self) -> CompressionPlan:
        """As a compression plan."""
        return plan_of(self.options)

    def to_json(self) -> dict[str, Any]:
        """Share, loss and the options of the layers that do not stay dense."""
        small = {name: str(option) for name, option in self.options.items() if not option.is_dense}
        return {"share": self.share, "cost": self.cost, "loss": self.loss, "layers": small}


def counted_costs(options: Mapping[str, Sequence[Option]], kind: str) -> dict[str, list[float]]:
    """Layer -> option -> multiply-accumulates or parameters."""
    attribute = COUNTED[kind]
    return {name: [float(getattr(each, attribute)) for each in row] for name, row in options.items()}


def choose(menu: Menu, share: float) -> Chosen:
    """The least loss at ``share`` of the dense cost.

    Raises:
        GateError: the network cannot cost so little; says how little it can.
    """
    rows = list(menu.costs.values())
    least = menu.rest + sum(min(row) for row in rows)
    limit = share * menu.dense
    if least > limit:
        raise GateError(
            f"{share:.0%} of the dense network's {menu.dense:.4g} {menu.unit} cannot be reached: the "
            f"smallest ranks of these formats come to {least / menu.dense:.0%}"
        )
    return _chosen(menu, knapsack.pick(rows, list(menu.losses.values()), limit - menu.rest))


def front(menu: Menu, points: int = knapsack.FRONT) -> list[Chosen]:
    """Choices none of which another beats in cost and loss, cheapest first."""
    picked = knapsack.front(list(menu.costs.values()), list(menu.losses.values()), points)
    return [_chosen(menu, each) for each in picked]


def _chosen(menu: Menu, picked: knapsack.Picked) -> Chosen:
    options = {
        name: row[index] for (name, row), index in zip(menu.options.items(), picked.indices, strict=True)
    }
    cost = menu.rest + picked.cost
    return Chosen(options, cost, picked.loss, cost / menu.dense if menu.dense else 1.0)
