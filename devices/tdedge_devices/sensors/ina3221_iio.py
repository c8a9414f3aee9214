"""Jetson with JetPack 4: the INA3221 in the iio layout of NVIDIA's kernel 4.9.

``/sys/bus/i2c/drivers/ina3221x/BUS-ADDRESS/iio:deviceN/{rail_name_K,in_powerK_input}``, K = 0..2:
milliwatts. POM_5V_IN (Nano), VDD_IN (TX1, TX2) and 5V_IN (Xavier NX) are the whole module; AGX Xavier has
disjoint rails on two chips; the Nano with 2 GB has no sensor.
Source: Jetson Linux Developer Guide for release 32, "Software-Based Power Consumption Modeling".
"""

from __future__ import annotations

from tdedge_devices.sensors.ina3221 import number_at
from tdedge_devices.sensors.sensor import Absent, Reading, Sensor, Settings, Values, chosen, number
from tdedge_devices.shell import Shell

NAME = "ina3221_iio"
PATTERN = "/sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*"
WHOLE = ("POM_5V_IN", "VDD_IN", "5V_IN")


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """All channels with a name and a power."""
    files = {}
    for path in shell.glob(PATTERN):
        folder, _, file = path.rpartition("/")
        label = (shell.read(path) or b"").decode(errors="replace").strip()
        power = f"{folder}/in_power{file.removeprefix('rail_name_')}_input"
        if label and label != "NC" and number_at(shell, power) is not None:
            files[label] = power
    if not files:
        return Absent(NAME, f"no channel with a power at {PATTERN}")
    rails, scope = chosen(settings, list(files), WHOLE)

    def read(values: Values) -> Reading | None:
        found = {label: number(values.get(label)) for label in files}
        power = {label: value * 1e-3 for label, value in found.items() if value is not None}
        return Reading(power_w=power) if len(power) == len(files) else None

    return Sensor(NAME, scope, rails, read, files=files)
