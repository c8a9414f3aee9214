"""What the page shows of devices: tables, plots and the heat map of operators, ready for the template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tdedge.report import device_plots, grids, numbers

#: Operators in the table of the heat map; the strip above it shows all.
_SHOWN = 40


def views(devices: Mapping[str, Mapping[str, Any]], themed: Callable[[str], Any]) -> list[dict[str, Any]]:
    """One mapping per device for the template; ``themed`` makes a plot safe to set as it is."""
    return [
        {
            "name": name,
            "figure_kind": device["figure_kind"] if device["environment"] else "not reached",
            "about": about(device),
            "errors": device["errors"],
            "notes": device.get("notes", []),
            "targets": [_target(name, device, target, themed) for target in device["targets"]],
        }
        for name, device in devices.items()
    ]


def about(device: Mapping[str, Any]) -> str:
    """Where it was: processor, system, runtimes, clocks."""
    found = device.get("environment")
    if not found:
        return str(device.get("url", ""))
    versions = [f"{name} {version}" for name, version in found.get("versions", {}).items() if version]
    governor = found.get("governor")
    parts = [
        str(device.get("url", "")),
        *([found["board"]] if found.get("board") else []),
        f"{found['cpu_model']}, {found['cores']} cores, {found['machine']}",
        f"{found['system']} {found.get('kernel', '')}".strip(),
        ", ".join(versions),
        f"governor {', '.join(governor)}" if isinstance(governor, list) else "",
        f"measured {device['started']}" if device.get("started") else "",
    ]
    return " · ".join(part for part in parts if part)


def _target(
    name: str, device: Mapping[str, Any], target: str, themed: Callable[[str], Any]
) -> dict[str, Any]:
    entry = device["targets"][target]
    only = {**device, "targets": {target: entry}}
    return {
        "name": target,
        "valid": entry["valid"],
        "grids": list(grids.of_device(name, only)),
        "plots": [themed(plot) for plot in _plots(target, entry) if plot],
        "heat": [heat(label, profile) for label, profile in entry["profiles"].items() if profile.get("ops")],
    }


def _plots(target: str, entry: Mapping[str, Any]) -> Iterator[str | None]:
    if entry["result"] is not None:
        yield device_plots.distributions(grids.comparison_of(target, entry))
    yield device_plots.sustained(entry["sustained"])
    yield device_plots.energies(entry["energy"])


def heat(label: str, profile: Mapping[str, Any]) -> dict[str, Any]:
    """The operators of one network in the order of execution, each with its share of the time."""
    total = sum(op["median_us"] for op in profile["ops"]) or 1.0
    hottest = max(op["median_us"] for op in profile["ops"]) or 1.0
    ops = [
        {
            "name": op["name"],
            "kind": op.get("op_type") or ("XNNPACK" if op["delegated"] else "built-in kernel"),
            "time": numbers.milliseconds(op["median_us"] / 1e3),
            "share": f"{op['median_us'] / total:.1%}",
            "heat": f"{op['median_us'] / hottest:.3f}",
            "grow": f"{op['median_us'] / total:.5f}",
            "us": op["median_us"],
        }
        for op in profile["ops"]
    ]
    least = sorted((op["us"] for op in ops), reverse=True)[:_SHOWN][-1]
    shown = [op for op in ops if op["us"] >= least][:_SHOWN]
    left = len(ops) - len(shown)
    rest = sum(op["us"] for op in ops) - sum(op["us"] for op in shown)
    return {
        "label": label,
        "total": f"{numbers.milliseconds(total / 1e3)} in {len(ops)} operators",
        "ops": ops,
        "shown": shown,
        "rest": f"{left} shorter operators take {rest / total:.1%} together." if left else "",
        "method": profile["method"],
    }
