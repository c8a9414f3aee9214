"""Tables as plain text cells: drawn on a terminal, written as Markdown, set in the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from tdedge.report import numbers
from tdedge.report.comparison import Comparison

#: What a figure is called where it was not measured on the device itself.
KINDS = {
    "measured": "measured",
    "emulated": "emulated: instruction time, not seconds of a device",
    "replayed": "replayed from a recording",
}


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        title: above it.
        columns: names; the first column is set to the left, the others to the right.
        rows: cells as text.
        notes: lines below it.
        warn: whether the notes say that the figures do not count.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    warn: bool = False

    def table(self) -> Table:
        """For a terminal."""
        table = Table(title=self.title, title_justify="left", title_style="bold")
        for place, name in enumerate(self.columns):
            table.add_column(name, justify="right" if place else "left")
        for row in self.rows:
            table.add_row(*row)
        if self.notes:
            table.caption = "\n".join(self.notes)
            table.caption_justify = "left"
        return table

    def markdown(self) -> str:
        """As Markdown."""
        lines = [f"### {_escaped(self.title)}", ""]
        lines.append("| " + " | ".join(map(_escaped, self.columns)) + " |")
        lines.append("|---" + "|---:" * (len(self.columns) - 1) + "|")
        lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in self.rows]
        lines += ["", *(f"- {_escaped(note)}" for note in self.notes)] if self.notes else []
        return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text that stays in its cell, and is no markup."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def of_device(name: str, device: Mapping[str, Any]) -> Iterator[Grid]:
    """All tables of one device."""
    for target, entry in device["targets"].items():
        title = f"{name}, {target}"
        if entry["result"] is not None:
            run = comparison_of(target, entry)
            yield latency(title, device, run, entry)
            yield memory(title, run)
        if entry["energy"]:
            yield energy(title, entry["energy"])
        if entry["sustained"]:
            yield sustained(title, entry["sustained"])


def overview(devices: Mapping[str, Mapping[str, Any]]) -> Grid | None:
    """One row per device and target: the last network against the first; None where there are no two rows."""
    rows = []
    for name, device in devices.items():
        for target, entry in device["targets"].items():
            if entry["result"] is None:
                continue
            compared = comparison_of(target, entry).rows()
            first, last = compared[0], compared[-1]
            own = [numbers.mebibytes(row.own_memory_bytes) for row in (first, last)]
            joules = [_value(one, "net_j_per_inference") for one in entry["energy"].values()]
            saved = joules[0] / joules[-1] if len(joules) > 1 and joules[0] and joules[-1] else None
            passed = [report.get("passed") for report in entry["parity"].values()]
            rows.append(
                (
                    f"{name}, {target}",
                    device["figure_kind"] if entry["valid"] else "INVALID",
                    f"{numbers.milliseconds(first.latency_ms)} > {numbers.milliseconds(last.latency_ms)}",
                    numbers.ratio(last.speedup),
                    "-" if last.realisation is None else f"{last.realisation:.2f}",
                    numbers.ratio(saved),
                    " > ".join(own) if set(own) != {"-"} else "-",
                    "FAILED" if False in passed else "passed" if True in passed else "-",
                )
            )
    if len(rows) < 2:
        return None
    columns = ("device", "figures", "latency", "times faster", "realisation", "net energy, times less")
    return Grid("All devices", (*columns, "own memory", "parity"), tuple(rows))


def comparison_of(target: str, entry: Mapping[str, Any]) -> Comparison:
    """The comparison of one target of a device; its parities are those found on the device."""
    parities = {
        label: report["max_rel"]
        for label, report in entry["parity"].items()
        if report.get("max_rel") is not None
    }
    return Comparison(target, entry["result"], entry["costs"], parities)


def of_comparison(run: Comparison) -> Grid:
    """One comparison on the host."""
    entry = {"parity": {}, "costs": run.costs, "rounds": [], "valid": True, "reasons": []}
    return latency(run.target, {"figure_kind": "measured"}, run, entry)


def latency(title: str, device: Mapping[str, Any], run: Comparison, entry: Mapping[str, Any]) -> Grid:
    """Latency of every network."""
    rows = []
    for row in run.rows():
        own = run.result["models"][row.label]["latency"]
        low, high = row.speedup_low, row.speedup_high
        rows.append(
            (
                row.label,
                numbers.milliseconds(own.get("p50_ms", own["median_ms"])),
                _between(own),
                numbers.milliseconds(own.get("p90_ms")),
                numbers.milliseconds(own.get("p99_ms")),
                numbers.ratio(row.speedup),
                "-" if low is None or high is None else f"{low:.2f} to {high:.2f}",
                numbers.ratio(row.mac_ratio),
                "-" if row.realisation is None else f"{row.realisation:.2f}",
                _parity(entry["parity"].get(row.label, {}), row.parity),
            )
        )
    threads = f"{run.threads} thread{'s' if run.threads > 1 else ''}"
    return Grid(
        f"{title}, {threads}: {KINDS[device['figure_kind']]}",
        (
            *("network", "p50", "95 %", "p90", "p99", "times faster", "95 %", "MACs", "realisation"),
            "parity",
        ),
        tuple(rows),
        tuple(_latency_notes(run, entry)),
        warn=not entry["valid"],
    )


def memory(title: str, run: Comparison) -> Grid:
    """What every network takes before and beside its inferences."""
    rows = []
    for row in run.rows():
        model = run.result["models"][row.label]
        told = model.get("memory", {})
        cost = run.costs.get(row.label, {})
        arena = told.get("arena_bytes", {}).get("value")
        rows.append(
            (
                row.label,
                numbers.milliseconds(model.get("load", {}).get("value")),
                numbers.milliseconds(model.get("first_inference", {}).get("value")),
                numbers.mebibytes(row.own_memory_bytes),
                numbers.mebibytes(row.peak_rss_bytes),
                numbers.mebibytes(told.get("pss_bytes", {}).get("value")),
                numbers.mebibytes(cost.get("weight_bytes")),
                numbers.mebibytes(cost.get("peak_activation_bytes") if arena is None else arena),
                numbers.mebibytes(model.get("file_bytes")),
            )
        )
    notes = ["arena: " + ("as the runtime planned it" if _tells_arena(run) else _PREDICTED)]
    if any("weight_bytes" in cost for cost in run.costs.values()):
        notes.append("weights: of the exported graph; a planned file may hold some of them more than once")
    notes += _shared(_memory_reasons(run))
    return Grid(
        f"{title}: start and memory",
        ("network", "load", "first", "own memory", "peak RSS", "PSS", "weights", "arena", "file"),
        tuple(rows),
        tuple(notes),
    )


_PREDICTED = "predicted from the graph (largest activations alive at once); the runtime does not tell its own"


def _tells_arena(run: Comparison) -> bool:
    models = run.result["models"].values()
    return any(one.get("memory", {}).get("arena_bytes", {}).get("value") is not None for one in models)


def _memory_reasons(run: Comparison) -> Iterator[tuple[str, str]]:
    for label, model in run.result["models"].items():
        figures = model.get("memory", {})
        for name in ("own_peak_rss_bytes", "peak_rss_bytes", "pss_bytes"):
            if reason := figures.get(name, {}).get("reason"):
                yield label, f"{name.removesuffix('_bytes').replace('_', ' ')} not measurable: {reason}"


def _latency_notes(run: Comparison, entry: Mapping[str, Any]) -> Iterator[str]:
    rounds = entry["rounds"]
    invalid = [(place, one["reasons"]) for place, one in enumerate(rounds, 1) if not one["valid"]]
    if not entry["valid"]:
        yield f"INVALID, no round counts: {'; '.join(entry['reasons'])}"
    else:
        for place, reasons in invalid:
            yield f"round {place} of {len(rounds)} does not count: {'; '.join(reasons)}"
    if not run.quiet:
        share = run.foreign_cpu
        used = "an unknown share" if share is None else f"{share:.0%}"
        yield f"other processes used {used} of the processor; ratios are interleaved and steadier than times"
    reasons = (
        (label, f"parity: {one['reason']}") for label, one in entry["parity"].items() if one.get("reason")
    )
    yield from _shared(reasons)


def energy(title: str, found: Mapping[str, Mapping[str, Any]]) -> Grid:
    """Joules per inference of every network."""
    reference = _value(next(iter(found.values())), "net_j_per_inference")
    rows: list[tuple[str, ...]] = []
    notes: list[tuple[str, str]] = []
    for label, figures in found.items():
        net = _value(figures, "net_j_per_inference")
        reason = figures["net_j_per_inference"].get("reason")
        rows.append(
            (
                label,
                f"{numbers.joules(_value(figures, 'gross_j_per_inference'))}{_spread(figures, 'gross')}",
                f"{numbers.joules(net)}{_spread(figures, 'net')}",
                numbers.ratio(reference / net) if reference and net and rows else "-",
                numbers.watts(_value(figures, "idle_power_w")),
                numbers.watts(_value(figures, "run_power_w")),
                str(figures.get("scope", "-")),
            )
        )
        measured = _value(figures, "gross_j_per_inference") is not None
        if reason:
            notes.append((label, f"{'net energy ' if measured else ''}not measurable: {reason}"))
        if measured:
            notes.append((label, f"{figures['method']}; rails {', '.join(figures['rails'])}"))
    return Grid(
        f"{title}: energy per inference",
        ("network", "gross", "net", "times less (net)", "idle", "running", "scope"),
        tuple(rows),
        _shared(notes),
    )


def sustained(title: str, found: Mapping[str, Mapping[str, Any]]) -> Grid:
    """Latency of every network at the beginning and at the end of the long run."""
    rows: list[tuple[str, ...]] = []
    notes: list[tuple[str, str]] = []
    for label, curve in found.items():
        if not curve["points"]:
            rows.append((label, *("-",) * 5))
            notes.append((label, curve["reason"]))
            continue
        hottest = [one["celsius"] for one in curve["stretches"] if one["celsius"] is not None]
        throttled = [one for one in curve["stretches"] if one["throttled"]]
        rows.append(
            (
                label,
                numbers.seconds(curve["stretches"][-1]["end_s"]),
                numbers.milliseconds(curve["first_ms"]),
                numbers.milliseconds(curve["last_ms"]),
                f"{100 * (curve['slowdown'] - 1):+.1f} %",
                f"{max(hottest):.1f} °C" if hottest else "not told",
            )
        )
        if throttled:
            since, why = throttled[0]["begin_s"], "; ".join(throttled[0]["throttled"])
            notes.append((label, f"slowed down from {since:.0f} s on: {why}"))
    return Grid(
        f"{title}: without a pause",
        ("network", "time", "at first", "at last", "change", "hottest"),
        tuple(rows),
        _shared(notes),
    )


def failures(devices: Mapping[str, Mapping[str, Any]]) -> Grid | None:
    """Everything that could not be measured; None where there is nothing."""
    rows = [
        (name, error["piece"], error["message"]) for name, one in devices.items() for error in one["errors"]
    ]
    columns = ("device", "piece", "why")
    return Grid("Not measured, or does not count", columns, tuple(rows), warn=True) if rows else None


def _shared(notes: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Every text once, after the labels it is said of."""
    labels: dict[str, list[str]] = {}
    for label, text in notes:
        labels.setdefault(text, []).append(label)
    return tuple(f"{', '.join(names)}: {text}" for text, names in labels.items())


def _between(own: Mapping[str, Any]) -> str:
    if "median_low_ms" not in own:
        return "-"
    low, high = numbers.milliseconds(own["median_low_ms"]), numbers.milliseconds(own["median_high_ms"])
    return f"{low.removesuffix(' ms')} to {high.removesuffix(' ms')}"


def _parity(report: Mapping[str, Any], otherwise: float | None) -> str:
    if report.get("passed") is None:
        return numbers.error(otherwise)
    return f"{numbers.error(report['max_rel'])} {'passed' if report['passed'] else 'FAILED'}"


def _value(figures: Mapping[str, Any], name: str) -> float | None:
    value = figures[name]["value"]
    return None if value is None else float(value)


def _spread(figures: Mapping[str, Any], word: str) -> str:
    spread = figures.get("spread", {}).get(f"{word}_j_per_inference")
    if not spread:
        return ""
    return f" ({numbers.joules(spread['low'])} to {numbers.joules(spread['high'])})"
