"""The tables of int8 targets: what rounding cost, in total and tensor by tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from tdedge.report import numbers

if TYPE_CHECKING:
    from tdedge.artifact import Manifest
    from tdedge_exporters.quantize.report import QualityReport


def summary(manifest: Manifest) -> Table:
    """Per int8 target: signal to noise and agreement on samples held out, and what is on integers."""
    table = Table(title="int8", title_justify="left", title_style="bold")
    table.add_column("target")
    columns = ("SQNR", "top-1", "on samples", "calibrated on", "products on integers", "kept float32")
    for name in (*columns, "over float32"):
        table.add_column(name, justify="right")
    table.add_column("noisiest tensor")
    for target in manifest.targets:
        found = target.quality
        if found is None:
            continue
        shares = [output["top1_agreement"] for output in target.parity["outputs"]]
        known = [share for share in shares if share is not None]
        worst = found.worst[0] if found.worst else None
        table.add_row(
            target.target,
            numbers.decibel(target.parity["sqnr_db"]),
            f"{min(known):.0%}" if known else "-",
            str(found.held_out),
            f"{found.samples}, {found.method}",
            str(found.products),
            str(len(found.kept)),
            numbers.ratio(found.float32_ms / found.int8_ms if found.int8_ms and found.float32_ms else None),
            "-" if worst is None else f"{worst.name}, {numbers.decibel(worst.sqnr_db)}",
        )
    return table


def tensors(target: str, report: QualityReport) -> Table:
    """Every quantised tensor of one target in execution order, and what stays float32."""
    title = f"{target}, tensor by tensor"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("tensor")
    for name in ("SQNR", "outside the grid"):
        table.add_column(name, justify="right")
    for tensor in report.tensors:
        table.add_row(tensor.name, numbers.decibel(tensor.sqnr_db), f"{tensor.saturated:.2%}")
    for node, why in report.kept.items():
        table.add_row(node, "float32", why)
    return table
