"""The tables about devices printed on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from tdedge.report import numbers


def doctor_table(found: Mapping[str, Any]) -> Table:
    """What the doctor found of one device."""
    table = Table(title=f"{found['name']} ({found['url']})", title_justify="left", title_style="bold")
    table.add_column("what")
    table.add_column("found")
    table.add_row("reachable", "yes" if found["reachable"] else "no")
    environment = found.get("environment")
    if environment:
        table.add_row("figures", found["figure_kind"])
        table.add_row("jobs", ", ".join(found["job_kinds"]))
        table.add_row("processor", f"{environment['cpu_model']}, {environment['cores']} cores")
        if environment.get("board"):
            table.add_row("board", environment["board"])
        table.add_row("system", f"{environment['system']} {environment['kernel']}, {environment['machine']}")
        versions = {name: version for name, version in environment["versions"].items() if version}
        runtimes = ", ".join(f"{name} {version}" for name, version in versions.items())
        table.add_row("runtimes", runtimes or "none")
    conditions = found.get("conditions")
    if conditions:
        celsius = conditions["celsius"]
        table.add_row("temperature", "not told" if celsius is None else f"{celsius:.1f} degrees Celsius")
        table.add_row("governor", ", ".join(sorted(set(conditions["governors"]))) or "not told")
        clocks = ", ".join(f"{mhz:.0f}" for mhz in conditions["frequency_mhz"])
        table.add_row("clock", f"{clocks} MHz" if clocks else "not told")
    if found.get("free_bytes") is not None:
        table.add_row("free space", numbers.mebibytes(found["free_bytes"]))
    for sensor in found.get("sensors", ()):
        said = sensor["scope"] if sensor["found"] else f"no: {sensor['reason']}"
        table.add_row(f"sensor {sensor['name']}", said)
    for note in found["notes"]:
        table.add_row("note", note)
    if found["error"]:
        table.add_row("error", found["error"])
    return table
