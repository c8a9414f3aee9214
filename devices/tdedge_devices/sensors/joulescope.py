"""Joulescope JS110 and JS220: the energy the instrument itself counts, 50 times a second.

Library ``joulescope`` (extra ``joulescope``): statistics callbacks of ``Device``, accumulated energy in
joules, the time in seconds on the instrument's clock. Setting ``joulescope``: part of the name, such as
JS220-000415, where several are connected.
"""

from __future__ import annotations

import time
from typing import Any

from tdedge.errors import DeviceError
from tdedge_devices.sensors.meter import Add, library, metered
from tdedge_devices.sensors.sensor import Absent, Sensor, Settings
from tdedge_devices.shell import Shell

NAME = "joulescope"
SCOPE = "supply (joulescope)"


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The instrument connected to this machine."""
    joulescope = library("joulescope", "joulescope", "joulescope")
    devices = [device for device in joulescope.scan("Joulescope") if settings.get(NAME, "") in str(device)]
    if not devices:
        return Absent(NAME, "no Joulescope is connected to this machine")
    if len(devices) > 1:
        names = ", ".join(map(str, devices))
        return Absent(NAME, f"several are connected ({names}); name one by the setting {NAME}")
    return metered(NAME, SCOPE, Joulescope(devices[0]))


class Joulescope:
    """The instrument; see ``sensor.Meter``."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def start(self, add: Add) -> None:
        """Open it and follow its counter."""

        def on_statistics(data: dict[str, Any]) -> None:
            seconds = data["time"]["range"]["value"][1]
            energy_j = data["accumulators"]["energy"]["value"]
            add(time.monotonic_ns(), {"energy_j": energy_j, "at_ns": round(seconds * 1e9)})

        try:
            self._device.parameter_set("reduction_frequency", "50 Hz")
            self._device.statistics_callback_register(on_statistics, "sensor")
            self._device.open()
            self._device.parameter_set("i_range", "auto")
            self._device.parameter_set("v_range", "15V")
        except (RuntimeError, OSError) as error:
            raise DeviceError(f"the Joulescope cannot be opened: {error}") from None

    def stop(self) -> None:
        """Close it."""
        self._device.close()
