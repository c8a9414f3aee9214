"""Jetson, as text: ``tegrastats --interval MS``, where the files of the INA3221 cannot be read.

A line holds ``VDD_IN 7421mW/8050mW``: milliwatts now and their average since the start; older releases write
``POM_5V_IN 5336/4970`` without the unit. The first number is taken. ``RAM 3347/7467MB`` and the like are no
rails.
Source: Jetson Linux Developer Guide, "tegrastats Utility".
"""

from __future__ import annotations

import re

from tdedge_devices.sensors.sensor import Absent, Reading, Sensor, Settings, Values, chosen
from tdedge_devices.shell import Shell

NAME = "tegrastats"
WHOLE = ("VDD_IN", "POM_5V_IN", "5V_IN")
_RAIL = re.compile(r"(?<!\S)([A-Z0-9_]+) (\d+)(?:mW)?/\d+(?:mW)?(?!\S)")
_INTERVAL_MS = 50


def rails_of(line: str) -> dict[str, float]:
    """The rails of one line, in watts."""
    return {name: int(milliwatts) * 1e-3 for name, milliwatts in _RAIL.findall(line)}


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The rails of its first lines."""
    command = ("tegrastats", "--interval", str(_INTERVAL_MS))
    done = shell.run(["timeout", "1", *command], timeout_s=20)
    lines = [line for line in done.text.splitlines() if rails_of(line)]
    if not lines:
        return Absent(NAME, f"tegrastats tells no rail: {done.last_line or 'it printed nothing'}")
    labels = list(rails_of(lines[-1]))
    rails, scope = chosen(settings, labels, WHOLE)

    def read(values: Values) -> Reading | None:
        power = rails_of(values.get("line") or "")
        return Reading(power_w=power) if all(name in power for name in rails) else None

    return Sensor(NAME, scope, rails, read, streams={"line": command}, interval_ms=_INTERVAL_MS)
