"""What decides a plan: forms that are timed twice, and plans that are timed as whole networks.

Forms are timed twice, each time in a process of its own, and the shorter time counts. Noise only adds. It can
last as long as the calls of one file in one process do: the cheapest form of THETIS's first convolution once
took 72 ms in LiteRT, beside 45 to 55 ms in six processes after that, and a plan of 58 ms in place of 52 ms
was made from it. A part that takes little of the whole cannot do such harm; of a part that takes much, every
form is a contender that would be chosen if two fifths of its own time were noise.

Two forms of such a part whose costs are near cannot be told apart by them: what the caches hold is another in
the network. Packed by 2 x 4 x 2 positions THETIS' first convolutions cost 41.1 ms in LiteRT, by 2 x 2 x 4
42.5 ms; the whole network took 47.9 ms with the former, 43.2 ms with the latter. So the plans of lowest cost
with another form of such a part are timed too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tdedge_exporters.planner.candidates import Candidate
from tdedge_exporters.planner.pricing import IMPOSSIBLE_MS
from tdedge_exporters.planner.search import Choice, Conversion, search
from tdedge_exporters.planner.units import Network

#: What a form must take of the whole plan.
SHARE = 0.1
#: What is left of a time without the largest noise.
TRUE = 0.6
#: Plans that cost at most so many times the lowest are timed as whole networks, and at most so many of them.
NEAR, MOST = 1.1, 2


def contenders(offered: Sequence[Candidate], costs_ms: Sequence[float], best: Choice) -> list[Candidate]:
    """Candidates whose times decide the plan.

    Args:
        offered: every candidate.
        costs_ms: one per candidate.
        best: the cheapest choice of them by these costs.
    """
    large = _large(offered, costs_ms, best)
    return [candidate for candidate, cost, instead_ms in large if TRUE * cost <= instead_ms]


def near_plans(
    net: Network,
    offered: Sequence[Candidate],
    costs_ms: Sequence[float],
    conversion: Conversion,
    best: Choice,
) -> list[Choice]:
    """The cheapest plans with another form of a part that takes much of the whole.

    Args:
        net: the network.
        offered: every candidate.
        costs_ms: one per candidate.
        conversion: milliseconds to store a value otherwise.
        best: the cheapest choice of them by these costs.
    """
    forms = {(each.units, each.form) for each in best.chosen}
    most_ms = NEAR * best.cost_ms
    near = [
        (cost - instead_ms, candidate)
        for candidate, cost, instead_ms in _large(offered, costs_ms, best)
        if (candidate.units, candidate.form) not in forms and best.cost_ms + cost - instead_ms <= most_ms
    ]
    found: list[Choice] = []
    for _, candidate in sorted(near, key=lambda pair: pair[0]):
        indices = {unit.index for unit in candidate.units}
        weighed = [
            cost
            if each is candidate or indices.isdisjoint(unit.index for unit in each.units)
            else IMPOSSIBLE_MS
            for each, cost in zip(offered, costs_ms, strict=True)
        ]
        choice = search(net, offered, weighed, conversion)
        if choice.cost_ms <= most_ms and choice.chosen not in [each.chosen for each in found]:
            found.append(choice)
        if len(found) == MOST:
            break
    return found


def _large(
    offered: Sequence[Candidate], costs_ms: Sequence[float], best: Choice
) -> Iterator[tuple[Candidate, float, float]]:
    """Candidates that take much of the whole, what each costs, and what ``best`` takes in its place."""
    prices = {id(candidate): cost for candidate, cost in zip(offered, costs_ms, strict=True)}
    piece = {unit.index: candidate for candidate in best.chosen for unit in candidate.units}
    conversions_ms = best.cost_ms - sum(prices[id(candidate)] for candidate in best.chosen)
    for candidate, cost in zip(offered, costs_ms, strict=True):
        instead = {id(piece[unit.index]) for unit in candidate.units}
        if cost >= SHARE * best.cost_ms:
            yield candidate, cost, sum(prices[key] for key in instead) + conversions_ms
