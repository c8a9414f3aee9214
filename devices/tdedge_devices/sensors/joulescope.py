"""Joulescope JS110 and JS220: the energy the instrument itself counts, 50 times a second.

Library ``pyjoulescope_driver`` (extra ``joulescope``): statistics published under the instrument's path, with
the accumulated energy in joules. The instrument is opened as it stands, so that the device keeps its power.
Setting ``joulescope``: part of the path, such as ``u/js220/000415``, where several are connected.
"""

from __future__ import annotations

import time
from typing import Any

from tdedge.errors import DeviceError
from tdedge_devices.sensors.meter import Add, library, metered
from tdedge_devices.sensors.sensor import Absent, Sensor, Settings
from tdedge_devices.shell import Shell

NAME = "joulescope"
SCOPE = "supply (Joulescope)"
_PER_SECOND = 50
_RATES = {"js110": 2_000_000, "js220": 1_000_000}


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The instrument connected to this machine."""
    driver = library("pyjoulescope_driver", "pyjoulescope_driver", NAME).Driver()
    paths = [
        path
        for path in driver.device_paths()
        if settings.get(NAME, "") in path and any(model in path for model in _RATES)
    ]
    if len(paths) != 1:
        driver.finalize()
        found = f"several are connected ({', '.join(paths)}); name one by the setting {NAME}"
        return Absent(NAME, found if paths else "no Joulescope is connected to this machine")
    return metered(NAME, SCOPE, Joulescope(driver, paths[0]))


class Joulescope:
    """The instrument; see ``sensor.Meter``."""

    def __init__(self, driver: Any, path: str) -> None:
        self._driver, self._path = driver, path

    def start(self, add: Add) -> None:
        """Open it and follow its counter."""

        def on_statistics(topic: str, value: dict[str, Any]) -> None:
            add(time.monotonic_ns(), {"energy_j": value["accumulators"]["energy"]["value"]})

        try:
            self._driver.open(self._path, mode="restore")
            for topic, value in commands(self._path):
                self._driver.publish(self._path + topic, value)
            self._driver.subscribe(f"{self._path}/s/stats/value", "pub", on_statistics)
        except (RuntimeError, OSError) as error:
            raise DeviceError(f"the Joulescope {self._path} cannot be opened: {error}") from None

    def stop(self) -> None:
        """Let it go."""
        self._driver.finalize()


def commands(path: str) -> list[tuple[str, str | int]]:
    """What makes an instrument count: the current's range by itself, then statistics."""
    model = next(name for name in _RATES if name in path)
    every = ("/s/stats/scnt", _RATES[model] // _PER_SECOND)
    if model == "js220":
        return [("/s/i/range/mode", "auto"), every, ("/s/stats/ctrl", 1)]
    signals: list[tuple[str, str | int]] = [(f"/s/{signal}/ctrl", "on") for signal in "ivp"]
    return [("/s/i/range/select", "auto"), *signals, every, ("/s/stats/ctrl", "on")]
