"""What a measurement depends on: processor, clocks, load, system, versions; each a value or a reason."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tdedge_runtimes.figures import Figure, measured, not_measurable
from tdedge_runtimes.process import THREAD_VARIABLES
from tdedge_runtimes.session import PACKAGES

_CPUS = Path("/sys/devices/system/cpu")
_THERMAL = Path("/sys/class/thermal")
_BOARD = Path("/proc/device-tree/model")


def describe_environment() -> dict[str, Any]:
    """The environment as JSON values; names no host, user or path."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpu_model": cpu_model(),
        "simd_lanes": simd_lanes(),
        "board": _read(_BOARD),
        "cores": os.cpu_count() or 1,
        "affinity": affinity(),
        "governor": governors(),
        "frequency_mhz": frequencies(),
        "load_1min": load(),
        "temperature_celsius": temperatures(),
        "thread_variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "versions": versions(),
    }


def versions() -> dict[str, str | None]:
    """Versions of NumPy and of every package of a runtime (``None``: not installed)."""
    found: dict[str, str | None] = {}
    for package in ("numpy", *(name for names in PACKAGES.values() for name in names)):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def cpu_model(cpuinfo: str | None = None) -> str:
    """The processor's name from a /proc/cpuinfo text (by default this machine's), or the closest there is."""
    text = _read(Path("/proc/cpuinfo")) if cpuinfo is None else cpuinfo
    fields: dict[str, str] = {}
    for line in (text or "").splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), value.strip())
    if name := fields.get("model name") or fields.get("Hardware"):
        return name
    if "CPU part" in fields:
        return f"Arm implementer {fields.get('CPU implementer', '?')} part {fields['CPU part']}"
    return platform.processor() or platform.machine()


def simd_lanes(machine: str | None = None, cpuinfo: str | None = None) -> int:
    """Float32 numbers a kernel works on side by side: 16 with AVX-512, else 8 (AVX2; two NEON vectors).

    Args:
        machine: as ``platform.machine()``; this machine's by default.
        cpuinfo: a /proc/cpuinfo text; this machine's by default.
    """
    text = _read(Path("/proc/cpuinfo")) if cpuinfo is None else cpuinfo
    is_x86 = (machine or platform.machine()).lower() in ("x86_64", "amd64")
    return 16 if is_x86 and "avx512f" in (text or "").split() else 8


def affinity() -> Any:
    """The cores this process may use, or a figure with the reason where the system does not tell."""
    get = getattr(os, "sched_getaffinity", None)
    if get is None:
        return not_measurable("cores", "this system does not tell a process its cores")
    return sorted(get(0))


def governors(cpus: Path = _CPUS) -> Any:
    """The frequency governors in force, sorted, or a figure with the reason."""
    found = {_read(path) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {None}
    return sorted(str(name) for name in found) or not_measurable("governor", "the system exposes no cpufreq")


def frequencies(cpus: Path = _CPUS) -> Any:
    """The present clock of every core in MHz, or a figure with the reason."""
    found = [_read(path) for path in sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))]
    clocks = [int(text) / 1000 for text in found if text and text.isdigit()]
    return clocks or not_measurable("MHz", "the system exposes no cpufreq")


def temperatures(thermal: Path = _THERMAL) -> Any:
    """The temperature of every thermal zone in degrees Celsius by its type, or a figure with the reason."""
    found = {}
    for zone in sorted(thermal.glob("thermal_zone*")):
        text = _read(zone / "temp")
        if text and text.lstrip("-").isdigit():
            found[f"{zone.name}:{_read(zone / 'type') or 'unknown'}"] = int(text) / 1000
    return found or not_measurable("degree Celsius", "the system exposes no thermal zone")


def load() -> Figure:
    """The load average of the last minute."""
    try:
        return measured(os.getloadavg()[0], "runnable tasks")
    except (OSError, AttributeError):
        return not_measurable("runnable tasks", "the system has no load average")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\0 \n\t") or None
    except OSError:
        return None
