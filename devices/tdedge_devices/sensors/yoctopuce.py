"""Yoctopuce Yocto-Watt: the mean power of every reporting interval.

Library ``yoctopuce`` (extra ``yoctopuce``; on Linux it needs libusb 1.0): timed reports of ``YPower`` in
watts, 25 a second, handled within ``YAPI.Sleep``. Settings: ``yoctopuce`` (serial number or logical name,
where several are connected) and ``yoctopuce_hub`` (``usb``, or the address of a VirtualHub or YoctoHub).
"""

from __future__ import annotations

import time
from typing import Any

from tdedge.errors import DeviceError
from tdedge_devices.sensors.meter import Add, Loop, library, metered
from tdedge_devices.sensors.sensor import Absent, Sensor, Settings
from tdedge_devices.shell import Shell

NAME = "yoctopuce"
SCOPE = "supply (Yocto-Watt)"
_PER_SECOND = 25
_TURN_MS = 20


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The instrument behind the hub."""
    api = library("yoctopuce.yocto_api", "yoctopuce", "yoctopuce")
    power = library("yoctopuce.yocto_power", "yoctopuce", "yoctopuce").YPower
    problem, hub = api.YRefParam(), settings.get("yoctopuce_hub", "usb")
    try:
        known = api.YAPI.RegisterHub(hub, problem)
    except ImportError as error:  # its own shared library needs libusb
        return Absent(NAME, f"its library cannot be used, on Debian install libusb-1.0-0: {error}")
    if known != api.YAPI.SUCCESS:
        return Absent(NAME, f"hub {hub}: {problem.value}")
    wanted = settings.get(NAME)
    sensor = power.FindPower(f"{wanted}.power") if wanted else power.FirstPower()
    if sensor is None or not sensor.isOnline():
        api.YAPI.FreeAPI()
        return Absent(NAME, f"no power sensor{f' {wanted}' if wanted else ''} at hub {hub}")
    return metered(NAME, SCOPE, YoctoWatt(api.YAPI, sensor))


class YoctoWatt:
    """The instrument; see ``sensor.Meter``."""

    def __init__(self, api: Any, sensor: Any) -> None:
        self._api, self._sensor = api, sensor
        self._loop: Loop | None = None

    def start(self, add: Add) -> None:
        """Ask for reports and take them."""

        def on_report(_: Any, measure: Any) -> None:
            length_ns = round((measure.get_endTimeUTC() - measure.get_startTimeUTC()) * 1e9)
            add(time.monotonic_ns() - length_ns // 2, {"power_w": measure.get_averageValue()})

        if self._sensor.set_reportFrequency(f"{_PER_SECOND}/s") != self._api.SUCCESS:
            raise DeviceError(f"the Yocto-Watt refuses {_PER_SECOND} reports a second")
        self._sensor.registerTimedReportCallback(on_report)
        self._loop = Loop(lambda: self._api.Sleep(_TURN_MS))

    def stop(self) -> None:
        """End the reports and let the library go."""
        try:
            if self._loop is not None:
                self._loop.stop()
        finally:
            self._sensor.registerTimedReportCallback(None)
            self._sensor.set_reportFrequency("OFF")
            self._api.FreeAPI()
