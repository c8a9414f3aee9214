"""What decides a plan is timed twice, each time in a process of its own, and the shorter time counts.

Noise only adds. It can last as long as the calls of one file in one process do: the cheapest form of THETIS's
first convolution once took 72 ms in LiteRT, beside 45 to 55 ms in six processes after that, and a plan of
58 ms in place of 52 ms was made from it. A part that takes little of the whole cannot do such harm; of a part
that takes much, every form is a contender that would be chosen if two fifths of its own time were noise.
"""

from __future__ import annotations

from collections.abc import Sequence

from tdedge_exporters.planner.candidates import Candidate
from tdedge_exporters.planner.search import Choice

#: What a form must take of the whole plan.
SHARE = 0.1
#: What is left of a time without the largest noise.
TRUE = 0.6


def contenders(offered: Sequence[Candidate], costs_ms: Sequence[float], best: Choice) -> list[Candidate]:
    """Candidates whose times decide the plan.

    Args:
        offered: every candidate.
        costs_ms: one per candidate.
        best: the cheapest choice of them by these costs.
    """
    prices = {id(candidate): cost for candidate, cost in zip(offered, costs_ms, strict=True)}
    piece = {unit.index: candidate for candidate in best.chosen for unit in candidate.units}
    pieces_ms = sum(prices[id(candidate)] for candidate in best.chosen)
    found = []
    for candidate, cost in zip(offered, costs_ms, strict=True):
        instead = {id(piece[unit.index]) for unit in candidate.units}
        instead_ms = sum(prices[key] for key in instead) + best.cost_ms - pieces_ms  # and conversions
        if cost >= SHARE * best.cost_ms and TRUE * cost <= instead_ms:
            found.append(candidate)
    return found
