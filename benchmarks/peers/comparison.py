"""Our file against the files of the peers, for every form of every network: figures, gates and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.convert import Conversion
from benchmarks.peers.peer import OURS
from tdedge.report import numbers

#: A 3-D decomposed network is at least so much faster than the fastest file of a peer.
FASTER_3D = 2.5
#: A 2-D network is at least so fast, relative to the fastest file of a peer.
EVEN_2D = 0.97
#: A 3-D network holds at most one in so many bytes of the heap of the thriftiest file of a peer.
SMALLER_3D = 5.0


@dataclass(frozen=True)
class Against:
    """Our file against one peer's; ratios are the peer's figure over ours, so larger is better.

    Attributes:
        faster: ratio of median latencies.
        low: lower end of its interval.
        high: upper end of its interval.
        smaller: ratio of own heap bytes; None where one of them is not measurable or not positive.
    """

    peer: str
    faster: float
    low: float
    high: float
    smaller: float | None


@dataclass(frozen=True)
class FormResult:
    """One form of one network.

    Attributes:
        network: its name.
        form: ``dense``, or what its layers were decomposed to.
        spatial_rank: 2 or 3.
        conversions: converter -> what it made of it, ours first.
        result: one interleaved run of all files that run, ours first; None where ours does not run.
    """

    network: str
    form: str
    spatial_rank: int
    conversions: Mapping[str, Conversion]
    result: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Network and form."""
        return f"{self.network} {self.form}"

    def own_heap_bytes(self, converter: str) -> float | None:
        """Heap of the file less that of a one-operation file; None where it was not measured."""
        if self.result is None or converter not in self.result["models"]:
            return None
        value = self.result["models"][converter]["memory"].get("own_heap_bytes", {}).get("value")
        return None if value is None else float(value)

    def against(self) -> list[Against]:
        """Our file against that of every peer that runs."""
        if self.result is None:
            return []
        found = []
        mine = self.own_heap_bytes(OURS)
        for peer, ratio in self.result["ratios"].items():
            # The run's ratios are ours over the peer's; the ends of the interval change places.
            value, low, high = (1 / ratio["speedup"][key] for key in ("value", "high", "low"))
            theirs = self.own_heap_bytes(peer)
            smaller = theirs / mine if theirs is not None and mine is not None and mine > 0 else None
            found.append(Against(peer, value, low, high, smaller))
        return found

    def best(self) -> Against | None:
        """Our file against the fastest of the peers' files; None where none runs."""
        return min(self.against(), key=lambda other: other.faster, default=None)


@dataclass(frozen=True)
class Gate:
    """One requirement, held against the worst of the forms it is about.

    Attributes:
        measured: what was found, and for which form.
    """

    name: str
    required: str
    measured: str
    passed: bool

    def line(self) -> str:
        """The gate as one line."""
        state = "PASS" if self.passed else "FAIL"
        return f"{state}: {self.name}: {self.measured}; required {self.required}"


def gates(results: Sequence[FormResult]) -> list[Gate]:
    """The three gates; one that nothing was measured for has not passed."""
    decomposed = [r for r in results if r.spatial_rank == 3 and r.form != "dense"]
    flat = [r for r in results if r.spatial_rank == 2]
    volumes = [r for r in results if r.spatial_rank == 3]
    return [
        _gate("3-D decomposed, speed over the fastest peer", FASTER_3D, decomposed, _faster),
        _gate("2-D, speed over the fastest peer", EVEN_2D, flat, _faster),
        _gate("3-D, own heap of the thriftiest peer over ours", SMALLER_3D, volumes, _smaller),
    ]


def _faster(result: FormResult) -> float | None:
    best = result.best()
    return None if best is None else best.faster


def _smaller(result: FormResult) -> float | None:
    ratios = [other.smaller for other in result.against()]
    known = [ratio for ratio in ratios if ratio is not None]
    return min(known) if known and len(known) == len(ratios) else None


def _gate(name: str, least: float, results: Sequence[FormResult], figure: Any) -> Gate:
    """Worst figure of the forms that a peer runs; our file not running, or a figure missing, fails it."""
    required = f"at least {numbers.ratio(least)}"
    broken = [result.name for result in results if result.result is None]
    if broken:
        return Gate(name, required, f"our file does not run: {', '.join(broken)}", False)
    compared = [result for result in results if result.against()]
    if not compared:
        return Gate(name, required, "no peer runs any of these networks", False)
    figures = {result.name: figure(result) for result in compared}
    missing = [label for label, value in figures.items() if value is None]
    if missing:
        return Gate(name, required, f"not measurable: {', '.join(missing)}", False)
    worst = min(figures, key=figures.__getitem__)
    return Gate(name, required, f"{numbers.ratio(figures[worst])} ({worst})", figures[worst] >= least)


def markdown(results: Sequence[FormResult], installed: Mapping[str, int]) -> str:
    """The tables: every file, the gates, and what the environments of the peers take.

    Args:
        results: all forms, in order.
        installed: peer -> bytes of its environment.
    """
    head = (
        "network", "form", "converter", "latency", "tdedge is faster", "95 % interval", "own heap",
        "heap over tdedge", "conversion", "error", "note",
    )  # fmt: skip
    lines = [_row(head), "|---" * 3 + "|---:" * 7 + "|---|"]
    for result in results:
        others = {other.peer: other for other in result.against()}
        lines += [
            _row(_cells(result, conversion, others.get(name)))
            for name, conversion in result.conversions.items()
        ]
    noisy = [result.name for result in results if result.result is not None and not result.result["quiet"]]
    if noisy:
        lines += ["", f"Other processes used more than 6 % of the CPU during runs of: {', '.join(noisy)}."]
    lines += ["", _row(("gate", "required", "measured", "result")), "|---|---|---|---|"]
    for gate in gates(results):
        state = "PASS" if gate.passed else "FAIL"
        lines.append(_row((gate.name, gate.required, gate.measured, state)))
    lines += ["", _row(("peer", "installed")), "|---|---:|"]
    lines += [_row((peer, numbers.mebibytes(size))) for peer, size in installed.items()]
    return "\n".join(lines) + "\n"


def _cells(result: FormResult, conversion: Conversion, other: Against | None) -> tuple[str, ...]:
    name = conversion.converter
    latency = result.result["models"].get(name, {}).get("latency") if result.result else None
    return (
        result.network,
        result.form,
        name,
        f"{numbers.milliseconds(latency['median_ms'])} ± {latency['mad_ms']:.2f}" if latency else "-",
        numbers.ratio(other.faster if other else None),
        f"{other.low:.2f} to {other.high:.2f}" if other else "-",
        numbers.mebibytes(result.own_heap_bytes(name)),
        numbers.ratio(other.smaller if other else None),
        f"{conversion.seconds:.1f} s",
        numbers.error(conversion.error),
        f"does not run: {conversion.reason}" if conversion.reason else "",
    )


def _row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
