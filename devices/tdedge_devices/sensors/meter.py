"""What the instruments at this machine have in common: each an own library, imported when it is asked for."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from typing import Any

from tdedge.errors import DeviceError, MissingError
from tdedge_devices.sensors.sensor import Meter, Reading, Sensor, Values, number

#: Called with this machine's ``time.monotonic_ns`` and the values of that moment.
Add = Callable[[int, dict[str, float]], None]

_RAIL = "supply"


def library(module: str, package: str, extra: str) -> Any:
    """A module of an instrument's library.

    Raises:
        MissingError: it is not installed; names the extra it comes with.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingError.extra(package, extra) from None


def metered(name: str, scope: str, meter: Meter | None) -> Sensor:
    """The sensor of an instrument; without the instrument it reads what was recorded from one."""
    return Sensor(name, scope, (_RAIL,), read, meter=meter)


def read(values: Values) -> Reading | None:
    """The values of ``Add``: ``power_w`` or ``energy_j``."""
    power, energy = number(values.get("power_w")), number(values.get("energy_j"))
    if power is not None:
        return Reading(power_w={_RAIL: power})
    return None if energy is None else Reading(energy_j={_RAIL: energy})


class Loop:
    """A thread that asks an instrument again and again, until ``stop``."""

    def __init__(self, turn: Callable[[], None]) -> None:
        self._turn = turn
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it.

        Raises:
            DeviceError: the instrument failed meanwhile.
        """
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise DeviceError(f"the instrument failed: {self._error}") from self._error

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._turn()
        except Exception as error:  # any library's own kinds; raised again by stop
            self._error = error


def middle_ns(begin_ns: int) -> int:
    """The middle of the time from ``begin_ns`` to now."""
    return (begin_ns + time.monotonic_ns()) // 2
