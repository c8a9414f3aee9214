"""The tables printed on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table

from tdedge.report import numbers
from tdedge.report.comparison import Comparison

if TYPE_CHECKING:
    from tdedge.artifact import Manifest
    from tdedge.compress import CompressionReport
    from tdedge.cost import NetworkCost
    from tdedge_exporters.passes.record import PassRecord
    from tdedge_exporters.planner.plan import TargetPlan


def _table(title: str, left: str, *right: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(left)
    for name in right:
        table.add_column(name, justify="right")
    return table


def costs(stages: Mapping[str, NetworkCost]) -> Table:
    """Totals per stage; where there are several, the ratio of the first to each other."""
    table = _table("Cost", "network", "parameters", "MACs", "FLOPs", "weights", "peak activations")
    totals = {name: cost.totals() for name, cost in stages.items()}
    first = next(iter(totals.values()))
    for name, own in totals.items():
        table.add_row(
            name,
            numbers.count(own["params"]),
            numbers.count(own["macs"]),
            numbers.count(own["flops"]),
            numbers.mebibytes(own["weight_bytes"]),
            numbers.mebibytes(own["peak_activation_bytes"]),
        )
        if own is not first:
            keys = ("params", "macs", "flops", "weight_bytes", "peak_activation_bytes")
            ratios = [numbers.ratio(first[key] / own[key]) if own[key] else "-" for key in keys]
            table.add_row("  fewer", *ratios, style="dim")
    return table


def layers(cost: NetworkCost) -> Table:
    """Every layer that computes."""
    table = _table("Layers", "layer", "op", "output", "parameters", "MACs", "share")
    total = cost.totals()["macs"] or 1
    for layer in cost.layers:
        shape = "x".join(map(str, layer.output_shape))
        share = f"{layer.macs / total:.1%}"
        table.add_row(
            layer.name, layer.op, shape, numbers.count(layer.params), numbers.count(layer.macs), share
        )
    return table


def compression(report: CompressionReport) -> Table:
    """What became of every layer."""
    table = _table("Compression", "layer", "format", "ranks", "parameters", "MACs", "kernel error", "note")
    for row in report.rows:
        table.add_row(
            row.name,
            row.format or "-",
            ",".join(map(str, row.ranks)) if row.ranks else "-",
            _change(row.params_before, row.params_after),
            _change(row.macs_before, row.macs_after),
            numbers.error(row.relative_error),
            row.reason or "",
        )
    return table


def _change(before: float, after: float) -> str:
    if before == after:
        return numbers.count(before)
    return f"{numbers.count(before)} > {numbers.count(after)}"


def rewrites(records: Iterable[PassRecord]) -> Table:
    """Every rewrite that fired or did not, with its reason."""
    table = Table(title="Rewrites", title_justify="left", title_style="bold")
    for column in ("pass", "node", "", "why"):
        table.add_column(column)
    for record in records:
        done = "done" if record.changed else "left"
        table.add_row(record.pass_name, record.node, done, record.reason)
    return table


def plans(manifest: Manifest) -> Table:
    """Per target: what the planner kept, and the whole network's latency with and without it."""
    table = _table("Plan", "target", "in another form", "plain", "planned", "speed-up", "kept")
    for target in manifest.targets:
        plan = target.plan
        if plan is None:
            continue
        speedup = plan.plain_ms / plan.planned_ms if plan.plain_ms and plan.planned_ms else None
        table.add_row(
            target.target,
            f"{plan.not_plain} of {plan.pieces} parts{_kernels(plan.kernels)}",
            numbers.milliseconds(plan.plain_ms),
            numbers.milliseconds(plan.planned_ms),
            numbers.ratio(speedup),
            f"{plan.kept}, replayed" if plan.replayed else plan.kept,
        )
    return table


def _kernels(family: str) -> str:
    return f", {family} kernels" if family else ""


def target_plan(plan: TargetPlan) -> Table:
    """How one target executes each chain: what was considered, measured, chosen, and why."""
    from tdedge_exporters.planner.explain import explain

    threads = f"{plan.threads} thread{'s' if plan.threads > 1 else ''}"
    kept = f"{plan.kept} kept{_kernels(plan.kernels)}"
    table = _table(
        f"Plan for {plan.target} {plan.runtime_version}, {threads}, effort {plan.effort}: {kept}",
        "chain", "considered", "measured", "plain", "chosen",
    )  # fmt: skip
    for column in ("form", "why"):
        table.add_column(column)
    rows = explain(plan)
    for row in rows:
        table.add_row(
            row.part,
            str(row.considered),
            str(row.measured),
            numbers.milliseconds(row.plain_ms),
            numbers.milliseconds(row.chosen_ms),
            "\n".join(row.chosen),
            row.why,
        )
    table.caption = plan.why
    table.caption_justify = "left"
    return table


def parity(manifest: Manifest) -> Group:
    """Parity of every target, and the compression error beside it where there was compression."""
    table = _table("Parity", "target", "output", "largest error", "of scale", "SQNR", "top-1", "result")
    for target in manifest.targets:
        _parity_rows(table, target.target, target.parity)
    if manifest.compression_error is None:
        return Group(table)
    beside = _table(
        "Compression error (decomposed against dense network)", "", "output", "largest error", "of scale",
        "SQNR", "top-1", "",
    )  # fmt: skip
    _parity_rows(beside, "", manifest.compression_error)
    return Group(table, beside)


def parity_reports(reports: Mapping[str, Mapping[str, Any]]) -> Table:
    """Parity reports by name, in one table."""
    table = _table("Parity", "target", "output", "largest error", "of scale", "SQNR", "top-1", "result")
    for name, report in reports.items():
        _parity_rows(table, name, report)
        if not report["outputs"]:
            table.add_row(name, *("-",) * 5, "FAILED")
    return table


def _parity_rows(table: Table, name: str, report: Mapping[str, Any]) -> None:
    for output in report["outputs"]:
        top1 = output.get("top1_agreement")
        passed = output.get("passed")
        table.add_row(
            name,
            output["name"],
            numbers.error(output["max_abs"]),
            numbers.error(output["max_rel"]),
            numbers.decibel(output["sqnr_db"]),
            "-" if top1 is None else f"{top1:.0%}",
            "" if passed is None else "passed" if passed else "FAILED",
        )


def comparison(run: Comparison) -> Table:
    """One measured run."""
    table = _table(
        f"{run.target}, {run.threads} thread{'s' if run.threads > 1 else ''}", "network", "parameters",
        "MACs", "latency", "measured", "95 % interval", "realisation", "own memory", "parity",
    )  # fmt: skip
    for row in run.rows():
        interval = (
            "-"
            if row.speedup_low is None or row.speedup_high is None
            else f"{row.speedup_low:.2f} to {row.speedup_high:.2f}"
        )
        table.add_row(
            row.label,
            numbers.ratio(row.params_ratio),
            numbers.ratio(row.mac_ratio),
            f"{numbers.milliseconds(row.latency_ms)} ± {row.latency_mad_ms:.2f}",
            numbers.ratio(row.speedup),
            interval,
            "-" if row.realisation is None else f"{row.realisation:.2f}",
            numbers.mebibytes(row.own_memory_bytes),
            numbers.error(row.parity),
        )
    return table


def profile(label: str, profiled: Mapping[str, Any]) -> Table:
    """Operators of one model, the slowest first, with their share of the sum."""
    total = sum(op["median_us"] for op in profiled["ops"]) or 1.0
    table = _table(f"Operators of {label}", "operator", "place", "median", "share", "by")
    for op in sorted(profiled["ops"], key=lambda op: -op["median_us"]):
        table.add_row(
            op["name"],
            str(op["ordinal"]),
            f"{op['median_us'] / 1e3:.3f} ms",
            f"{op['median_us'] / total:.0%}",
            "XNNPACK" if op["delegated"] else op.get("op_type") or "built-in kernel",
        )
    return table


def summary(runs: Sequence[Comparison], parities: Mapping[str, float]) -> Table:
    """The one table of the demo: a row per target, every later network against the first."""
    later = [row.label for row in runs[0].rows()[1:]]
    table = _table(
        "Times faster than the dense network", "target", "parameters", "MACs", *later, "realisation",
        "latency", "own memory", "parity",
    )  # fmt: skip
    for run in runs:
        rows = run.rows()
        first, last = rows[0], rows[-1]
        table.add_row(
            run.target,
            numbers.ratio(last.params_ratio),
            numbers.ratio(last.mac_ratio),
            *(numbers.ratio(row.speedup) for row in rows[1:]),
            " > ".join("-" if row.realisation is None else f"{row.realisation:.2f}" for row in rows[1:]),
            " > ".join(numbers.milliseconds(row.latency_ms) for row in rows),
            f"{numbers.mebibytes(first.own_memory_bytes)} > {numbers.mebibytes(last.own_memory_bytes)}",
            numbers.error(parities.get(run.target)),
        )
    return table


def within_budget(outcome: Mapping[str, Any], budget: str | None) -> Table:
    """What ranks were chosen for, what was promised and what was measured."""
    table = _table("Budget", "figure", "value")
    table.add_row("target", outcome["target"])
    if budget is not None:
        table.add_row("asked for", budget)
    table.add_row("by the parts, of the dense network", f"{outcome['predicted_share']:.1%}")
    for label, value in outcome["measured_ms"].items():
        table.add_row(f"{label}, planned, measured", numbers.milliseconds(value))
    if outcome["measured_share"] is not None:
        table.add_row("measured, of the dense network", f"{outcome['measured_share']:.1%}")
    if outcome["drop"] is not None:
        table.add_row("lost of the metric", f"{outcome['drop']:.2%}")
    return table
