"""What a device has and lacks, looked at once: for ``tdedge devices doctor`` and the head of a result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tdedge.errors import DeviceError, MissingError, TdedgeError, UsageError
from tdedge_devices import address, sensors, throttling
from tdedge_devices.conditions import Watcher
from tdedge_devices.device import Device
from tdedge_devices.inventory import Named
from tdedge_devices.shell import Shell
from tdedge_runtimes.errors import RuntimesError

Connect = Callable[[str, Mapping[str, str]], Device]

#: A clock this far from ours is worth a word: results carry its dates.
_CLOCK_SECONDS = 60.0


def examine(named: Named, connect: Connect | None = None) -> dict[str, Any]:
    """One device as JSON values.

    Every part is a finding of its own, so that one that is missing hides none of the others. ``error`` is
    None where the device does jobs, else the line that says why it does not; ``exit_code`` goes with it.
    """
    found: dict[str, Any] = {
        "name": named.name,
        "url": named.shown_url(),
        "settings": named.shown_settings(),
        "reachable": False,
        "error": None,
        "exit_code": 0,
        "notes": [],
    }
    opener = connect or (lambda url, settings: address.connect(url, dict(settings)))
    try:
        with opener(named.url, named.settings) as device:
            found["reachable"] = True
            found["figure_kind"] = device.figure_kind
            found["job_kinds"] = sorted(device.job_kinds)
            found["environment"] = device.environment()
            found |= _by_shell(device, named.settings)
    except (TdedgeError, RuntimesError) as error:
        found["error"], found["exit_code"] = error.message, error.exit_code
        found["reachable"] = found["reachable"] and not isinstance(error, DeviceError)
    found["notes"] += _notes(found)
    return found


def _by_shell(device: Device, settings: Mapping[str, str]) -> dict[str, Any]:
    shell = device.shell
    now = Watcher(shell).read()
    return {
        "conditions": now.to_json(),
        "throttled": throttling.is_slowed(now),
        "clock_offset_s": None if shell is None else _clock_offset_s(shell),
        "free_bytes": None if shell is None else _free_bytes(shell),
        "sensors": _sensors(shell, settings),
    }


def _clock_offset_s(shell: Shell) -> float | None:
    """Its clock less ours, to the second."""
    before = time.time()
    text = shell.run(["date", "+%s"]).text
    after = time.time()
    return round(int(text) - (before + after) / 2, 1) if text.isdigit() else None


def _free_bytes(shell: Shell) -> int | None:
    """Free space where commands start."""
    lines = shell.run(["df", "-Pk", "."]).text.splitlines()
    words = lines[-1].split() if lines else []
    return int(words[3]) * 1024 if len(words) >= 6 and words[3].isdigit() else None


def _sensors(shell: Shell | None, settings: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every energy sensor that was looked for, found or not."""
    if shell is None:
        return []
    asked = [name.strip() for name in settings.get("sensors", "").split(",") if name.strip()]
    found = []
    for name in asked or [name for name, _ in sensors.SENSORS]:
        try:
            one = sensors.find(shell, {**settings, "sensors": name})
        except (UsageError, MissingError) as error:
            found.append({"name": name, "found": False, "reason": error.message})
            continue
        if isinstance(one, sensors.Sensor):
            found.append({"name": name, "found": True, "scope": one.scope, "rails": list(one.rails)})
        else:
            found += [{"name": name, "found": False, "reason": absent.reason} for absent in one]
    return found


def _notes(found: Mapping[str, Any]) -> list[str]:
    notes = [f"slowed down now: {why}" for why in found.get("throttled", ())]
    offset = found.get("clock_offset_s")
    if offset is not None and abs(offset) > _CLOCK_SECONDS:
        side = "ahead of" if offset > 0 else "behind"
        notes.append(f"its clock is {abs(offset):.0f} s {side} this machine's")
    return notes
