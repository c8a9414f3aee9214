"""What a measurement on an Android device depends on, read by its shell: processor, clocks, heat, system."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tdedge_devices.shell import Shell
from tdedge_runtimes.environment import cpu_model
from tdedge_runtimes.figures import measured, not_measurable

# One command for all of it: parts between lines that begin with a mark.
_MARK = "@@"
_SCRIPT = f"""
part() {{ echo; echo "{_MARK} $1"; }}
part kernel; uname -sr
part machine; uname -m
part properties; getprop 2>/dev/null
part cpuinfo; cat /proc/cpuinfo 2>/dev/null
part load; cat /proc/loadavg 2>/dev/null
part cores; cat /sys/devices/system/cpu/present 2>/dev/null
part governors; cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor 2>/dev/null
part clocks; cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq 2>/dev/null
part zones
for zone in /sys/class/thermal/thermal_zone[0-9]*; do
  echo "${{zone##*/}}:$(cat $zone/type 2>/dev/null) $(cat $zone/temp 2>/dev/null)"
done
part thermal; dumpsys thermalservice 2>/dev/null
"""
_PART = re.compile(rf"^{_MARK} (\w+)$", re.MULTILINE)
_PROPERTY = re.compile(r"^\[([\w.]+)\]: \[(.*)\]\s*$", re.MULTILINE)
_ZONE = re.compile(r"^(thermal_zone\d+:.*) (-?\d+)$", re.MULTILINE)
_TEMPERATURE = re.compile(r"Temperature\{mValue=(-?[\d.]+),[^}]*mName=([^,}]+)")
_ABSENT_CELSIUS = -90.0  # what is said of a sensor that is not there
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def read_environment(shell: Shell, versions: Mapping[str, str | None]) -> dict[str, Any]:
    """The environment in the shape of ``tdedge_runtimes.environment``.

    Args:
        shell: the way to the device.
        versions: of the programs that measure there.

    Raises:
        DeviceError: the connection was lost.
    """
    text = shell.run(["sh", "-c", _SCRIPT], timeout_s=60.0).stdout.decode(errors="replace")
    return parse_environment(text, versions)


def parse_environment(text: str, versions: Mapping[str, str | None]) -> dict[str, Any]:
    """The environment from what the script printed."""
    pieces = _PART.split(text)
    parts = {name: body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    properties = dict(_PROPERTY.findall(parts.get("properties", "")))
    system, _, kernel = parts.get("kernel", "").partition(" ")
    release = properties.get("ro.build.version.release")
    cores = [(int(first), int(last or first)) for first, last in _RANGE.findall(parts.get("cores", ""))]
    return {
        "system": f"Android {release}" if release else system or "unknown",
        "kernel": kernel or "unknown",
        "machine": parts.get("machine", "unknown"),
        "python": "none on the device",
        "cpu_model": _processor(properties, parts.get("cpuinfo", "")),
        "board": _board(properties),
        "cores": sum(last - first + 1 for first, last in cores) or 1,
        "affinity": not_measurable("cores", "adb does not tell the cores of a program"),
        "governor": sorted(set(parts.get("governors", "").split()))
        or not_measurable("governor", "the system exposes no cpufreq"),
        "frequency_mhz": [int(word) / 1e3 for word in parts.get("clocks", "").split() if word.isdigit()]
        or not_measurable("MHz", "the system exposes no cpufreq"),
        "load_1min": _load(parts.get("load", "")),
        "temperature_celsius": temperatures(parts.get("zones", ""), parts.get("thermal", ""))
        or not_measurable("degree Celsius", "neither thermal zones nor thermalservice tell a temperature"),
        "thread_variables": {},
        "versions": dict(versions),
    }


def temperatures(zones: str, thermalservice: str) -> dict[str, float]:
    """Degrees Celsius by sensor: of ``dumpsys thermalservice``, else of the kernel's thermal zones."""
    _, found, current = thermalservice.rpartition("Current temperatures from HAL")
    named = _TEMPERATURE.findall(current if found else thermalservice)
    if told := {name.strip(): float(value) for value, name in named if float(value) > _ABSENT_CELSIUS}:
        return told
    return {name: int(value) / 1000 for name, value in _ZONE.findall(zones)}


def _processor(properties: Mapping[str, str], cpuinfo: str) -> str:
    maker, model = properties.get("ro.soc.manufacturer", ""), properties.get("ro.soc.model", "")
    chip = " ".join(word for word in (maker, model) if word)
    core = cpu_model(cpuinfo) if cpuinfo else ""
    return f"{chip} ({core})" if chip and core else chip or core or "unknown"


def _board(properties: Mapping[str, str]) -> str | None:
    words = [properties.get(f"ro.product.{name}", "") for name in ("manufacturer", "model")]
    return " ".join(word for word in words if word) or None


def _load(text: str) -> dict[str, Any]:
    try:
        return measured(float(text.split()[0]), "runnable tasks")
    except (IndexError, ValueError):
        return not_measurable("runnable tasks", "the device lets its shell read no /proc/loadavg")
