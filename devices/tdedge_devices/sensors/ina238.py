"""INA238 and its relatives: newer Jetson modules, and INA226 boards wired into a supply line.

``/sys/class/hwmon/hwmonN/{name,power1_input}``: microwatts; the chip is found by its name. What flows through
the shunt is what is measured: the supply of the module or board, without what is fed beside it.
Source: Linux, Documentation/hwmon/{ina238,ina2xx}.rst.
"""

from __future__ import annotations

from tdedge_devices.sensors.ina3221 import number_at
from tdedge_devices.sensors.sensor import Absent, Reading, Sensor, Settings, Values, chosen, number
from tdedge_devices.shell import Shell

NAME = "ina238"
PATTERN = "/sys/class/hwmon/hwmon*/name"
CHIPS = ("ina238", "ina237", "ina228", "ina226", "ina231", "ina260", "ina220", "ina219")


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The chip; with several, those that the setting ``rails`` names."""
    files: dict[str, str] = {}
    for path in shell.glob(PATTERN):
        chip = (shell.read(path) or b"").decode(errors="replace").strip()
        power = f"{path.rpartition('/')[0]}/power1_input"
        if chip in CHIPS and number_at(shell, power) is not None:
            files[path.split("/")[-2] if chip in files else chip] = power
    if not files:
        return Absent(NAME, f"no chip of {', '.join(CHIPS[:4])} at {PATTERN}")
    if len(files) > 1 and not settings.get("rails"):
        names = ", ".join(files)
        return Absent(NAME, f"several chips ({names}); name those to add up by the setting rails")
    rails, _ = chosen(settings, list(files))
    scope = "what flows through the " + " and ".join(rails)

    def read(values: Values) -> Reading | None:
        found = {name: number(values.get(name)) for name in files}
        power = {name: value * 1e-6 for name, value in found.items() if value is not None}
        return Reading(power_w=power) if len(power) == len(files) else None

    return Sensor(NAME, scope, rails, read, files=files)
