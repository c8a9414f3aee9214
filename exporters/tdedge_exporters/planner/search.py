"""The cheapest plan: one candidate for every unit, and the conversions their labels ask for.

The problem is a shortest path over segmentation, form and layout; where a network branches the paths meet,
so it is solved as an integer programme (HiGHS, through SciPy)::

    minimise    sum_c cost_c x_c  +  sum_(v, l, m) cost_(v, l, m) z_(v, l, m)
    subject to  sum_(c covers u) x_c = 1                                  every unit once
                z_(v, l, m) >= p_(v, l) + r_(v, u, m) - 1                 every reader u of v
                p_(v, l) + r_(v, u, m) <= 1                               where l cannot become m

x_c is 0 or 1. p_(v, l) is 1 where the candidate that gives value v leaves it as label l, r_(v, u, m) where
the candidate that covers the reader u wants it as m: sums of x. A value that ends inside a candidate has
p = r = 0. z is the conversion, made once however many readers want it. Ties go to plain forms: everything
else costs a trifle more. Deterministic for given costs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from tdedge_exporters.planner.candidates import Candidate
from tdedge_exporters.planner.layouts import NATIVE, Label
from tdedge_exporters.planner.units import Network

#: What a form that is not plain must save at least, as a share of its cost.
PREFERENCE = 1e-3
#: The solver stops here with the best plan it has.
TIME_LIMIT_S = 60.0

Conversion = Callable[[ir.Value, Label, Label], float]


@dataclass(frozen=True)
class Choice:
    """A plan.

    Attributes:
        chosen: candidates in execution order; every unit is covered once.
        cost_ms: their cost and that of the conversions.
    """

    chosen: tuple[Candidate, ...]
    cost_ms: float


class _Rows:
    """Constraints ``low <= A x <= high``, row by row."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, float]] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def add(self, terms: Sequence[tuple[int, float]], low: float, high: float) -> None:
        row = len(self.low)
        self.entries += [(row, column, factor) for column, factor in terms]
        self.low.append(low)
        self.high.append(high)

    def matrix(self, columns: int) -> coo_array:
        rows, cols, data = zip(*self.entries, strict=True)
        return coo_array((data, (rows, cols)), shape=(len(self.low), columns))


def search(
    net: Network, candidates: Sequence[Candidate], costs_ms: Sequence[float], conversion: Conversion
) -> Choice:
    """The cheapest choice.

    Args:
        net: the network.
        candidates: at least one plain one per unit.
        costs_ms: one per candidate.
        conversion: milliseconds to store a value otherwise: (value, from, to).
    """
    rows = _Rows()
    cover: dict[int, list[int]] = defaultdict(list)
    gives: dict[ir.Value, dict[Label, list[int]]] = defaultdict(lambda: defaultdict(list))
    wants: dict[tuple[ir.Value, int], dict[Label, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, candidate in enumerate(candidates):
        for unit in candidate.units:
            cover[unit.index].append(index)
        for value in candidate.outputs:
            gives[value][candidate.gives].append(index)
        for value in dict.fromkeys(candidate.inputs):
            wants[value, candidate.units[0].index][candidate.reads].append(index)
    for unit in net.units:
        rows.add([(index, 1.0) for index in cover[unit.index]], 1, 1)
    extra = _conversions(net, rows, gives, wants, conversion, len(candidates))
    costs = np.array([*_with_preference(candidates, costs_ms), *extra])
    kinds = np.zeros(len(costs))
    kinds[: len(candidates)] = 1
    solved = milp(
        costs,
        integrality=kinds,
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(rows.matrix(len(costs)), rows.low, rows.high),
        options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": 1e-4},
    )
    assert solved.x is not None, solved.message
    chosen = [each for each, x in zip(candidates, solved.x, strict=False) if x > 0.5]
    return Choice(tuple(sorted(chosen, key=lambda c: c.units[-1].index)), float(solved.fun))


def _with_preference(candidates: Sequence[Candidate], costs_ms: Sequence[float]) -> list[float]:
    return [
        cost if candidate.is_plain else cost * (1 + PREFERENCE) + 1e-6
        for candidate, cost in zip(candidates, costs_ms, strict=True)
    ]


def _conversions(
    net: Network,
    rows: _Rows,
    gives: dict[ir.Value, dict[Label, list[int]]],
    wants: dict[tuple[ir.Value, int], dict[Label, list[int]]],
    conversion: Conversion,
    first: int,
) -> list[float]:
    """Constraints of every pair of labels a value may have; the costs of the variables they need."""
    costs: list[float] = []
    columns: dict[tuple[ir.Value, Label, Label], int] = {}
    outputs: dict[tuple[ir.Value, int], dict[Label, list[int]]] = {
        (value, -1): {NATIVE: []} for value in net.model.graph.outputs
    }
    for (value, _), readers in [*wants.items(), *outputs.items()]:
        for given, makers in gives.get(value, {NATIVE: []}).items():
            for wanted, takers in readers.items():
                if given == wanted:
                    continue
                terms = [(index, 1.0) for index in (*makers, *takers)]
                always = (value not in gives) + (wanted is NATIVE and not takers)
                if given.zeros != wanted.zeros:
                    rows.add(terms, -np.inf, 1 - always)
                    continue
                key = (value, given, wanted)
                if key not in columns:
                    columns[key] = first + len(costs)
                    costs.append(max(conversion(value, given, wanted), 0.0))
                rows.add([*terms, (columns[key], -1.0)], -np.inf, 1 - always)
    return costs
