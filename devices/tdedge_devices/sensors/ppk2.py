"""Nordic Power Profiler Kit II as an ampere meter: current times the voltage of the supply, which it is told.

Library ``ppk2_api`` (extra ``ppk2``): ``PPK2_API.get_samples`` gives microamperes at 100 kHz; what came
within 20 ms is averaged to one sample. Settings: ``ppk2_millivolts`` (the voltage of the supply; needed,
800 to 5000) and ``ppk2`` (the serial port, where several are connected).
"""

from __future__ import annotations

import time
from typing import Any

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.sensors.meter import Add, Loop, library, metered, middle_ns
from tdedge_devices.sensors.sensor import Absent, Sensor, Settings
from tdedge_devices.shell import Shell

NAME = "ppk2"
SCOPE = "supply (PPK2)"
_TURN_S = 0.02


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The instrument connected to this machine."""
    api = library("ppk2_api.ppk2_api", "ppk2-api", "ppk2").PPK2_API
    text = settings.get("ppk2_millivolts", "")
    if not text.isdigit() or not 800 <= int(text) <= 5000:
        raise UsageError(f"setting ppk2_millivolts is {text!r}; expected the supply's voltage, 800 to 5000")
    ports = [settings[NAME]] if NAME in settings else api.list_devices()
    if len(ports) != 1:
        found = f"several are connected ({', '.join(ports)}); name one by the setting {NAME}"
        return Absent(NAME, found if ports else "no Power Profiler Kit II is connected to this machine")
    try:
        meter = api(ports[0], timeout=1, write_timeout=1, exclusive=True)
    except OSError as error:  # serial.SerialException is one
        return Absent(NAME, f"{ports[0]}: {error}")
    return metered(NAME, SCOPE, Ppk2(meter, int(text)))


class Ppk2:
    """The instrument; see ``sensor.Meter``."""

    def __init__(self, meter: Any, millivolts: int) -> None:
        self._meter, self._millivolts = meter, millivolts
        self._loop: Loop | None = None

    def start(self, add: Add) -> None:
        """Read its calibration and follow the current."""
        if not self._meter.get_modifiers():
            raise DeviceError("the Power Profiler Kit II does not tell its calibration; reconnect it")
        self._meter.use_ampere_meter()
        self._meter.set_source_voltage(self._millivolts)
        self._meter.toggle_DUT_power("ON")
        self._meter.start_measuring()

        def turn() -> None:
            begin = time.monotonic_ns()
            time.sleep(_TURN_S)
            if data := self._meter.get_data():
                microamperes, _ = self._meter.get_samples(data)
                if microamperes:
                    mean_a = sum(microamperes) / len(microamperes) * 1e-6
                    add(middle_ns(begin), {"power_w": mean_a * self._millivolts * 1e-3})

        self._loop = Loop(turn)

    def stop(self) -> None:
        """End measuring; the device keeps its power."""
        try:
            if self._loop is not None:
                self._loop.stop()
        finally:
            self._meter.stop_measuring()
            self._meter.ser.close()
