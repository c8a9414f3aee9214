"""Raspberry Pi 5: the rails of its power management chip, by ``vcgencmd pmic_read_adc``.

Lines ``VDD_CORE_A current(7)=1.42880000A`` and ``VDD_CORE_V volt(15)=0.90659250V``: amperes and volts,
paired by the name before ``_A`` and ``_V`` (the indices differ). EXT5V_V and BATT_V have no current. The
sum of the rails is a lower bound of what the board draws: USB, the 5 V peripherals and the losses of the
chip are not in it. A Raspberry Pi 4 answers ``error=1 error_msg="Command not registered"``: it has no such
sensor.
Source: Raspberry Pi documentation, "vcgencmd"; the output of a board.
"""

from __future__ import annotations

import re

from tdedge_devices.sensors.sensor import Absent, Reading, Sensor, Settings, Values, chosen
from tdedge_devices.shell import Shell

NAME = "pmic"
COMMAND = ("vcgencmd", "pmic_read_adc")
_LINE = re.compile(r"(\S+)_([AV]) (?:current|volt)\(\d+\)=([\d.]+)[AV]")


def rails_of(text: str) -> dict[str, float]:
    """The power of every rail that has a current and a voltage, in watts."""
    found = {(name, letter): float(value) for name, letter, value in _LINE.findall(text)}
    return {
        name: current * found[name, "V"]
        for (name, letter), current in found.items()
        if letter == "A" and (name, "V") in found
    }


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The rails it lists."""
    done = shell.run(list(COMMAND), timeout_s=20)
    labels = list(rails_of(done.text))
    if not labels:
        if "not registered" in done.text:
            return Absent(NAME, "this board has no power sensor (vcgencmd pmic_read_adc: not registered)")
        return Absent(NAME, f"vcgencmd pmic_read_adc: {done.last_line or 'it printed nothing'}")
    rails, scope = chosen(settings, labels)

    def read(values: Values) -> Reading | None:
        power = rails_of(values.get("adc") or "")
        return Reading(power_w=power) if all(name in power for name in rails) else None

    return Sensor(NAME, scope, rails, read, commands={"adc": COMMAND}, interval_ms=25)
