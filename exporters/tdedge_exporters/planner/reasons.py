"""Why the search did not choose a form: what its part of the network would have taken with it."""

from __future__ import annotations

from collections import defaultdict

from tdedge_exporters.planner.candidates import Candidate
from tdedge_exporters.planner.planner import Planned
from tdedge_exporters.planner.pricing import IMPOSSIBLE_MS


class Reasons:
    """Compares every option with what the search chose for the same units.

    An option that covers parts of several chosen pieces is compared with all of them; what it leaves of them
    is executed in the cheapest way, conversions not counted.
    """

    def __init__(self, planned: Planned) -> None:
        self._is_costlier = planned.is_costlier
        self._costs = {id(candidate): cost for candidate, cost in planned.options}
        self._chosen = {id(candidate) for candidate in planned.searched.chosen}
        self._piece: dict[int, Candidate] = {}
        self._starts: dict[int, list[tuple[frozenset[int], float]]] = defaultdict(list)
        self._rest: dict[frozenset[int], float] = {frozenset(): 0.0}
        ways: dict[int, int] = defaultdict(int)
        for candidate in planned.searched.chosen:
            for unit in candidate.units:
                self._piece[unit.index] = candidate
        for candidate, cost in planned.options:
            indices = frozenset(unit.index for unit in candidate.units)
            self._starts[min(indices)].append((indices, cost))
            for index in indices:
                ways[index] += 1
        self._free = {index for index, count in ways.items() if count == 1}
        self._plain = {c.units[0].index: cost for c, cost in planned.options if c.is_plain}

    def cost_ms(self, candidate: Candidate) -> float | None:
        """What a candidate costs in its place; None where nobody had to know, or the target cannot run it."""
        if candidate.units[0].index in self._free:
            return None
        cost = self._costs.get(id(candidate))
        if cost is None:  # a plain form made again after the check was lost
            cost = self._plain[candidate.units[0].index]
        return None if cost >= IMPOSSIBLE_MS / 2 else cost

    def of(self, candidate: Candidate) -> tuple[float | None, str]:
        """How much slower a candidate is than what was chosen, and why it was not."""
        cost = self.cost_ms(candidate)
        if cost is None:
            return None, "the target cannot run it"
        indices = {unit.index for unit in candidate.units}
        pieces = list({id(p): p for p in (self._piece[index] for index in sorted(indices))}.values())
        if id(candidate) in self._chosen:
            return 0.0, "the cheapest by the costs of its parts, but the whole network was not faster"
        union = {unit.index for piece in pieces for unit in piece.units}
        instead = sum(self._costs.get(id(piece), 0.0) for piece in pieces)
        gap = cost + self._cheapest(frozenset(union - indices)) - instead
        if gap > 5e-4:
            return round(gap, 5), f"slower by {gap:.3f} ms in place"
        if gap > -5e-4:
            return round(gap, 5), "no faster in place"
        if self._is_costlier:
            return round(gap, 5), f"{-gap:.3f} ms cheaper by the costs of its parts, but the whole was slower"
        same = (candidate.reads, candidate.gives) == (pieces[0].reads, pieces[-1].gives)
        if same:
            return round(gap, 5), f"saves only {-gap:.3f} ms, too little to count"
        return round(gap, 5), f"{-gap:.3f} ms cheaper alone, but the conversions it asks for cost more"

    def _cheapest(self, indices: frozenset[int]) -> float:
        """The cheapest way to cover these units and no others."""
        if indices not in self._rest:
            ways = [
                cost + self._cheapest(indices - covered)
                for covered, cost in self._starts[min(indices)]
                if covered <= indices
            ]
            self._rest[indices] = min(ways, default=float("inf"))
        return self._rest[indices]
