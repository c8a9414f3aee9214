"""What the parts of a planned network take, kind by kind: in its profile, or by the times of its plan.

The kinds, by what a runtime's kernels make of them:

    wide        ungrouped factors with taps, whole vectors of channels on both sides
    pointwise   factors without taps: a tensor read and written for few multiply-accumulates
    narrow      fewer channels on one side than the SIMD lanes
    grouped     depthwise factors and groups: no channel is used twice
    moves       pools, element-wise steps, changes of layout: no multiply-accumulates

Against the rate of the best dense network a kind has an *excess*: its time less what its
multiply-accumulates take at that rate. What the network takes beyond its parts is excess too, up to a tenth
of its time: between them where they were profiled; where each was timed alone, it finds in the caches what it
read and wrote last time. The kernels bind a network where the excess of the kinds beside ``wide``, taken
away, leaves a network that realises what the median row must: every form of each part was timed, and the best
of them is that much slower than a dense convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tdedge_exporters.planner.candidates import Candidate
from tdedge_exporters.planner.planner import Planned, without_choice

WIDE, POINTWISE, NARROW, GROUPED, MOVES = "wide", "pointwise", "narrow", "grouped", "moves"
#: Shares of the measured time, at least and at most, that the parts must come to for an account of it.
EXPLAINS = (0.9, 1.2)
#: What the network must realise without the excess.
REALISES = 0.92

#: Kind -> (how many, multiply-accumulates as the network came, milliseconds).
Parts = Mapping[str, tuple[int, int, float]]


def not_timed(planned: Planned) -> list[Candidate]:
    """Factors of which there was one form only, so that the planner did not time them."""
    offered = [candidate for candidate, _ in planned.options]
    free = without_choice(offered)
    return [each for each in offered if id(each) in free and each.units[0].kind == "factor"]


def parts_of(
    planned: Planned, *, is_used: bool, alone_ms: Mapping[int, float]
) -> dict[str, tuple[int, int, float]]:
    """The parts of the chosen plan, or, where that is not used, of the network as it came.

    ``alone_ms``: id of a candidate -> milliseconds, of those :func:`not_timed`.
    """
    plain = {
        id(candidate.units[0]): (candidate, alone_ms.get(id(candidate), ms))
        for candidate, ms in planned.options
        if candidate.is_plain and len(candidate.units) == 1
    }
    found: dict[str, tuple[int, int, float]] = {}

    def add(kind: str, macs: int, ms: float) -> None:
        count, known_macs, known_ms = found.get(kind, (0, 0, 0.0))
        found[kind] = (count + 1, known_macs + macs, known_ms + ms)

    if not is_used:
        for candidate, ms in plain.values():
            add(kind_of(candidate, planned.lanes), _macs(candidate), ms)
        return found
    prices = {id(candidate): ms for candidate, ms in planned.options} | dict(alone_ms)
    for candidate in planned.choice.chosen:
        add(kind_of(candidate, planned.lanes), _macs(candidate), prices[id(candidate)])
    for *_, ms in planned.conversions:
        add(MOVES, 0, ms)
    return found


def kind_of(candidate: Candidate, lanes: int) -> str:
    """The kind of one candidate."""
    factors = [unit.factor for unit in candidate.units if unit.kind == "factor"]
    if not factors:
        return MOVES
    if any(factor.groups > 1 for factor in factors):
        return GROUPED
    if min(min(factor.in_channels, factor.out_channels) for factor in factors) < lanes:
        return NARROW
    return POINTWISE if all(factor.is_pointwise for factor in factors) else WIDE


def _macs(candidate: Candidate) -> int:
    return sum(unit.factor.macs(unit.input_shape) for unit in candidate.units if unit.kind == "factor")


@dataclass(frozen=True)
class Rates:
    """What a row measured.

    Attributes:
        planned_ms: latency of the planned network.
        dense_ms: latency of the best dense one.
        dense_macs: its multiply-accumulates.
        mac_ratio: what the arithmetic promises.
    """

    planned_ms: float
    dense_ms: float
    dense_macs: int
    mac_ratio: float

    @property
    def gflops(self) -> float:
        """Rate of the best dense network."""
        return 2 * self.dense_macs / self.dense_ms / 1e6


def account(parts: Parts, rates: Rates) -> str:
    """What the kernels bind, as a sentence; empty where they do not explain the time."""
    whole = sum(ms for *_, ms in parts.values())
    if not EXPLAINS[0] <= whole / rates.planned_ms <= EXPLAINS[1]:
        return ""
    excess = {
        kind: ms - 2 * macs / rates.gflops / 1e6 for kind, (_, macs, ms) in parts.items() if kind != WIDE
    }
    over = {kind: ms for kind, ms in excess.items() if ms > 0}
    between_ms = max(rates.planned_ms - whole, 0.0)
    left_ms = rates.planned_ms - sum(over.values()) - between_ms
    realises = rates.dense_ms / rates.mac_ratio / left_ms if left_ms > 0 else 0.0
    if realises < REALISES:
        return ""
    texts = [_text(kind, parts[kind]) for kind in sorted(over, key=lambda kind: -over[kind])]
    if between_ms:
        texts.append(f"the network beyond its parts {between_ms:.2g} ms")
    return (
        f"kernels: {', '.join(texts)}, of {rates.planned_ms:.3g} ms, each in the fastest of its forms; the "
        f"multiply-accumulates of the best dense network run at {rates.gflops:.0f} GFLOP/s, and at that rate "
        f"this one would realise {realises:.2f}"
    )


def _text(kind: str, part: tuple[int, int, float]) -> str:
    count, macs, ms = part
    if kind == MOVES:
        return f"{count} pools, maps and changes of layout take {ms:.2g} ms"
    return f"{count} {kind} factors take {ms:.2g} ms ({2 * macs / ms / 1e6:.0f} GFLOP/s)"
