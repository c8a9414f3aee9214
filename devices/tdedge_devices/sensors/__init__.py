"""Sensors of power and energy: one per file, each found on a device or said to be absent with the reason."""

from __future__ import annotations

from collections.abc import Callable

from tdedge.errors import UsageError
from tdedge_devices.sensors import (
    battery,
    csv_file,
    ina238,
    ina3221,
    ina3221_iio,
    joulescope,
    monsoon,
    odpm,
    pmic,
    ppk2,
    rapl,
    tegrastats,
    yoctopuce,
)
from tdedge_devices.sensors.sensor import Absent, Reading, Sensor, Settings
from tdedge_devices.shell import Shell

__all__ = ["ASKED_FOR", "SENSORS", "Absent", "Reading", "Sensor", "find"]

Find = Callable[[Shell, Settings], Sensor | Absent]

#: Looked for on every device, in this order: whole modules first, parts of them later.
SENSORS: tuple[tuple[str, Find], ...] = (
    (ina3221.NAME, ina3221.find),
    (ina3221_iio.NAME, ina3221_iio.find),
    (ina238.NAME, ina238.find),
    (tegrastats.NAME, tegrastats.find),
    (pmic.NAME, pmic.find),
    (odpm.NAME, odpm.find),
    (battery.NAME, battery.find),
    (rapl.NAME, rapl.find),
)

#: Instruments at this machine: looked for where the setting ``sensors`` names them.
ASKED_FOR: tuple[tuple[str, Find], ...] = (
    (csv_file.NAME, csv_file.find),
    (joulescope.NAME, joulescope.find),
    (monsoon.NAME, monsoon.find),
    (yoctopuce.NAME, yoctopuce.find),
    (ppk2.NAME, ppk2.find),
)

#: The scope of every instrument, for recordings of one.
METERS = {module.NAME: module.SCOPE for module in (csv_file, joulescope, monsoon, yoctopuce, ppk2)}


def find(shell: Shell, settings: Settings) -> Sensor | list[Absent]:
    """The first sensor that is there, or why none is.

    Args:
        shell: the way to the device.
        settings: ``sensors`` names those to look for, in this order, separated by commas; the sensors have
            settings of their own, see their files.

    Raises:
        UsageError: no such sensor, or a setting of one is wrong.
        MissingError: the library of an instrument is not installed.
        DeviceError: the connection was lost.
    """
    known = dict((*SENSORS, *ASKED_FOR))
    names = [name.strip() for name in settings.get("sensors", "").split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no sensor {name!r}; expected some of {', '.join(known)}")
    absent = []
    for name in names or [name for name, _ in SENSORS]:
        found = known[name](shell, settings)
        if isinstance(found, Sensor):
            return found
        absent.append(found)
    return absent
