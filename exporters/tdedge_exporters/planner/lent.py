"""The second plan of an integer target: the forms that are fastest in float32, as far as integers have them.

What forms take alone adds up less well on integers than in float32: a conversion between grids may vanish
between two neighbours, or appear. Where the sums mislead, the forms of the runtime's float32 plan can be the
faster ones. So the whole network is timed in both, and the faster is kept.

Integers are not offered every form (see :mod:`tdedge_exporters.planner.efforts`): frames that float32 adds up
are joined; where nothing alike is offered, or it takes as long as a whole network, the cheapest is taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tdedge_exporters.planner.candidates import Candidate
from tdedge_exporters.planner.search import Choice, Conversion, search
from tdedge_exporters.planner.units import Network

#: Ends of the names of forms that add products up, and of those that join what the products read.
_ADDED_UP, _JOINED = re.compile(r"\.(sum|minimal\d*)$"), ".joined"


def lent(
    net: Network,
    offered: Sequence[Candidate],
    costs_ms: Sequence[float],
    conversion: Conversion,
    best: Choice,
    floats: Choice,
) -> Choice | None:
    """The plan on integers that executes most of a network like its float32 plan.

    Args:
        net: the network, in units of integers.
        offered: candidates of ``net``.
        costs_ms: one per candidate.
        conversion: milliseconds to store a value otherwise.
        best: the cheapest choice of ``offered``.
        floats: what float32 executes, of the same nodes.

    Returns:
        None where that is ``best``, or the network as it came.
    """
    alike = _Alike(floats.chosen)
    # A unit that is executed otherwise weighs as much as all of the best plan.
    weighed = [
        cost if alike.fits(each) else cost + len(each.units) * (best.cost_ms + 1.0)
        for each, cost in zip(offered, costs_ms, strict=True)
    ]
    choice = search(net, offered, weighed, conversion)
    if choice.chosen == best.chosen or all(candidate.is_plain for candidate in choice.chosen):
        return None
    return choice


class _Alike:
    """Compares candidates with those of a plan, by the nodes they cover."""

    def __init__(self, chosen: Iterable[Candidate]) -> None:
        self._of_node: dict[int, Candidate] = {}
        self._nodes: dict[int, set[int]] = defaultdict(set)
        for candidate in chosen:
            for unit in candidate.units:
                for node in unit.nodes:
                    self._of_node[id(node)] = candidate
                    self._nodes[id(candidate)].add(id(node))

    def fits(self, candidate: Candidate) -> bool:
        """Whether it executes the same nodes, and no others, in the same form and layouts."""
        nodes = [id(node) for unit in candidate.units for node in unit.nodes]
        theirs = list({id(each): each for each in map(self._of_node.__getitem__, nodes)}.values())
        if set().union(*(self._nodes[id(each)] for each in theirs)) != set(nodes):
            return False
        if (theirs[0].reads, theirs[-1].gives) != (candidate.reads, candidate.gives):
            return False
        forms = {each.form for each in theirs}
        return candidate.form in forms | {_ADDED_UP.sub(_JOINED, form) for form in forms}
