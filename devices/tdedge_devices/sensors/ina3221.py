"""Jetson with JetPack 5 and 6 (and any board with an INA3221): the hwmon layout.

``/sys/bus/i2c/drivers/ina3221/BUS-ADDRESS/hwmon/hwmonN/{inK_label,inK_input,currK_input}``, K = 1..3:
millivolts and milliamperes. hwmonN changes from boot to boot, so rails are found by label; the channel "sum
of shunt voltages" is no rail. VDD_IN is the whole module; the modules with two chips (AGX) have none, and
their rails are disjoint and added up.
Source: Linux, Documentation/hwmon/ina3221.rst; Jetson Linux Developer Guide, "Power Monitor".
"""

from __future__ import annotations

import re

from tdedge_devices.sensors.sensor import Absent, Reading, Sensor, Settings, Values, chosen, number
from tdedge_devices.shell import Shell

NAME = "ina3221"
PATTERN = "/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label"
WHOLE = ("VDD_IN", "5V_IN")


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """All channels with a label, a voltage and a current."""
    files: dict[str, str] = {}
    for path in shell.glob(PATTERN):
        folder, _, file = path.rpartition("/")
        channel = re.fullmatch(r"in(\d+)_label", file)
        label = (shell.read(path) or b"").decode(errors="replace").strip()
        if channel is None or not label or "sum of" in label.lower():
            continue
        voltage, current = f"{folder}/in{channel[1]}_input", f"{folder}/curr{channel[1]}_input"
        if number_at(shell, voltage) is None or number_at(shell, current) is None:
            continue  # a channel that is switched off
        files[f"{label} mV"], files[f"{label} mA"] = voltage, current
    labels = [name.removesuffix(" mV") for name in files if name.endswith(" mV")]
    if not labels:
        return Absent(NAME, f"no channel with voltage and current at {PATTERN}")
    rails, scope = chosen(settings, labels, WHOLE)
    return Sensor(NAME, scope, rails, lambda values: read(labels, values), files=files)


def read(labels: list[str], values: Values) -> Reading | None:
    """Millivolts and milliamperes by label to watts."""
    power = {}
    for label in labels:
        voltage, current = number(values.get(f"{label} mV")), number(values.get(f"{label} mA"))
        if voltage is None or current is None:
            return None
        power[label] = voltage * current * 1e-6
    return Reading(power_w=power)


def number_at(shell: Shell, path: str) -> float | None:
    """The number in a file of the device."""
    text = shell.read(path)
    return None if text is None else number(text.decode(errors="replace"))
