"""The multiple-choice knapsack: one option for every layer, the least loss within a budget, exactly.

    minimise    sum_(l, o) loss_(l, o) x_(l, o)
    subject to  sum_o x_(l, o) = 1                      one option for every layer l
                sum_(l, o) cost_(l, o) x_(l, o) <= B    the budget
                x in {0, 1}

solved as an integer programme (HiGHS, through SciPy) to a gap of 0. Costs add up over layers: that is what
the planner's cost table promises of milliseconds, and what is true of parameters and multiply-accumulates.
That losses add up is the first-order model of the sensitivity (see :mod:`tdedge.ranks.sensitivity`).

Source: Kellerer, Pferschy, Pisinger, "Knapsack Problems", Springer 2004, chapter 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from tdedge.errors import GateError
from tdedge.factor import Array

#: Budgets tried for a front, evenly between the cheapest and the best choice.
FRONT = 24
#: Rounding of a budget: sums of costs in another order must still fit.
_SLACK = 1e-9


@dataclass(frozen=True)
class Picked:
    """One option per layer.

    Attributes:
        indices: of the chosen option, layer by layer.
        loss: sum of the chosen losses.
        cost: sum of the chosen costs.
    """

    indices: tuple[int, ...]
    loss: float
    cost: float


def pick(costs: Sequence[Sequence[float]], losses: Sequence[Sequence[float]], budget: float) -> Picked:
    """The least loss within a budget; of equal losses the cheaper.

    Args:
        costs: layer -> option -> cost, at least 0.
        losses: layer -> option -> loss.
        budget: what all chosen options may cost together.

    Raises:
        GateError: even the cheapest options cost more; says what they cost.
    """
    least = sum(min(row) for row in costs)
    if least > budget * (1 + _SLACK) + _SLACK:
        raise GateError(f"the cheapest choice costs {least:.4g}, more than the budget of {budget:.4g}")
    if not costs:
        return Picked((), 0.0, 0.0)
    sizes = [len(row) for row in costs]
    cost = np.concatenate([np.asarray(row, dtype=np.float64) for row in costs])
    loss = np.concatenate([np.asarray(row, dtype=np.float64) for row in losses])
    first = _solve(sizes, loss, cost, budget)
    last = _solve(sizes, cost, loss, float(loss[first].sum()))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return Picked(tuple((last - starts).tolist()), float(loss[last].sum()), float(cost[last].sum()))


def _solve(sizes: Sequence[int], goal: Array, weight: Array, limit: float) -> Array:
    """One item per layer, as places in ``goal``: its least sum where ``weight`` sums to at most ``limit``."""
    count = goal.size
    layer = np.repeat(np.arange(len(sizes)), sizes)
    one_each = csr_array((np.ones(count), (layer, np.arange(count))), shape=(len(sizes), count))
    unit, heavy = float(np.abs(goal).max()) or 1.0, float(np.abs(weight).max()) or 1.0
    solved = milp(
        goal / unit,
        integrality=np.ones(count),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(weight[None] / heavy, -np.inf, (limit + _SLACK * (abs(limit) + 1)) / heavy),
        ],
        options={"mip_rel_gap": 0.0},
    )
    assert solved.x is not None, solved.message
    ends = np.cumsum(sizes)
    return np.array([a + int(np.argmax(solved.x[a:b])) for a, b in pairwise([0, *ends.tolist()])])


def front(
    costs: Sequence[Sequence[float]], losses: Sequence[Sequence[float]], points: int = FRONT
) -> list[Picked]:
    """Choices none of which another beats in both, cheapest first, for evenly spaced budgets."""
    if not costs:
        return [Picked((), 0.0, 0.0)]
    least = sum(min(row) for row in costs)
    best = pick(costs, losses, sum(max(row) for row in costs))
    made = [pick(costs, losses, budget) for budget in np.linspace(least, max(best.cost, least), points)]
    return non_dominated(made)


def non_dominated(choices: Sequence[Picked]) -> list[Picked]:
    """Those that are cheaper than every one of no more loss; each cost once, cheapest first."""
    kept: list[Picked] = []
    for each in sorted(choices, key=lambda picked: (picked.cost, picked.loss)):
        if not kept or each.loss < kept[-1].loss:
            kept.append(each)
    return kept
