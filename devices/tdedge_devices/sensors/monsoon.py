"""Monsoon High Voltage Power Monitor: current and voltage of its main channel.

Library ``Monsoon`` (extra ``monsoon``): ``SampleEngine`` gives lists of seconds, milliamperes and volts at
5 kHz; each list of a hundred is averaged to one sample. The output voltage is not touched: set it with the
instrument's own program first. Setting ``monsoon``: the serial number, where several are connected.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tdedge.errors import DeviceError
from tdedge_devices.sensors.meter import Add, Loop, library, metered, middle_ns
from tdedge_devices.sensors.sensor import Absent, Sensor, Settings
from tdedge_devices.shell import Shell

NAME = "monsoon"
SCOPE = "supply (Monsoon)"
_PER_SAMPLE = 100


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The instrument connected to this machine."""
    hvpm = library("Monsoon.HVPM", "Monsoon", "monsoon")
    pmapi = library("Monsoon.pmapi", "Monsoon", "monsoon")
    monsoon, protocol = hvpm.Monsoon(), pmapi.USB_protocol()
    wanted = settings.get(NAME)
    try:
        serials = [serial for serial in protocol.enumerateDevices() if wanted in (None, serial)]
    except (ValueError, OSError) as error:  # usb.core.NoBackendError is a ValueError
        return Absent(NAME, f"USB cannot be used: {error}")
    if len(serials) != 1:
        found = f"several are connected ({', '.join(serials)}); name one by the setting {NAME}"
        return Absent(NAME, found if serials else "no Monsoon power monitor is connected to this machine")
    return metered(NAME, SCOPE, Monsoon(monsoon, protocol, serials[0]))


class Monsoon:
    """The instrument; see ``sensor.Meter``."""

    def __init__(self, monsoon: Any, protocol: Any, serial: str) -> None:
        self._monsoon, self._protocol, self._serial = monsoon, protocol, serial
        self._loop: Loop | None = None
        self._engine: Any = None

    def start(self, add: Add) -> None:
        """Connect, calibrate and follow its main channel."""
        engine_module = library("Monsoon.sampleEngine", "Monsoon", "monsoon")
        self._monsoon.setup_usb(self._serial, self._protocol)
        self._engine = engine_module.SampleEngine(self._monsoon)
        self._engine.ConsoleOutput(False)
        self._engine.enableChannel(engine_module.channels.MainCurrent)
        self._engine.enableChannel(engine_module.channels.MainVoltage)
        if self._engine.periodicStartSampling() is False:
            raise DeviceError("the Monsoon power monitor does not calibrate; reconnect it")

        def turn() -> None:
            begin = time.monotonic_ns()
            power = mean_power_w(self._engine.periodicCollectSamples(_PER_SAMPLE))
            if power is not None:
                add(middle_ns(begin), {"power_w": power})

        self._loop = Loop(turn)

    def stop(self) -> None:
        """End sampling and let it go."""
        try:
            if self._loop is not None:
                self._loop.stop()
        finally:
            self._engine.periodicStopSampling()


def mean_power_w(lists: Sequence[Sequence[float]]) -> float | None:
    """The mean power of lists of times, main, USB and auxiliary mA, main and USB V."""
    pairs = list(zip(lists[1], lists[4], strict=False))
    return sum(current * 1e-3 * voltage for current, voltage in pairs) / len(pairs) if pairs else None
