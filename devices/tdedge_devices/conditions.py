"""The state of a device between two measurements: temperature, clocks, and what it says of being throttled.

What there is to read is found once; later readings take one small file each. Sources of throttling, all
recorded by name:

* ``vcgencmd get_throttled`` of a Raspberry Pi: bits 0 under-voltage, 1 capped, 2 throttled, 3 soft limit;
  the same 16 higher: since boot.
* cooling devices of the kernel that slow a processor down: their state, 0 where they do nothing.
* x86 and Jetson counters of throttling events.
* ``dumpsys thermalservice`` of Android: its status, 0 (none) to 6 (shutdown).
* the highest clock each policy allows, which thermal governors lower.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from tdedge_devices.shell import Shell

_CPUFREQ = "/sys/devices/system/cpu/cpufreq/policy*"
_COUNTERS = (
    "/sys/devices/system/cpu/cpu0/thermal_throttle/*_throttle_count",
    "/sys/class/hwmon/hwmon*/oc*_event_cnt",
)
_PROCESSOR = re.compile(r"cpu|soc|tj|x86_pkg|acpitz|package|cluster|big|little", re.IGNORECASE)
_SLOWS = re.compile(r"cpu|processor|devfreq", re.IGNORECASE)
_MOST = 8
_THROTTLED = re.compile(r"throttled=(0x[0-9a-fA-F]+)")
_STATUS = re.compile(r"Thermal Status:\s*(\d+)")
_BATTERY = re.compile(r"temperature:\s*(-?\d+)")
_CORE = re.compile(r"temp=(-?[\d.]+)")


@dataclass(frozen=True)
class Conditions:
    """One reading.

    Attributes:
        celsius: of the hottest part that was read, None where nothing tells.
        zones_celsius: temperatures by name.
        governors: of every clock policy.
        frequency_mhz: present clock of every policy.
        ceiling_mhz: highest clock every policy allows now.
        bits: flags of ``vcgencmd get_throttled``.
        states: 0 where nothing is slowed down, by source.
        counters: events since boot, by source.
    """

    celsius: float | None = None
    zones_celsius: dict[str, float] = field(default_factory=dict)
    governors: list[str] = field(default_factory=list)
    frequency_mhz: list[float] = field(default_factory=list)
    ceiling_mhz: list[float] = field(default_factory=list)
    bits: int | None = None
    states: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return asdict(self)


class Watcher:
    """Reads the conditions of one device; of a device that runs no commands it knows none."""

    def __init__(self, shell: Shell | None) -> None:
        self._shell = shell
        self._zones: dict[str, str] = {}
        self._cooling: dict[str, str] = {}
        self._counters: dict[str, str] = {}
        self._policies: list[str] = []
        self._tools: set[str] = set()
        if shell is not None:
            self._discover(shell)

    def read(self) -> Conditions:
        """The conditions now.

        Raises:
            DeviceError: the connection was lost.
        """
        if self._shell is None:
            return Conditions()
        zones = {
            name: value / 1000 for name, path in self._zones.items() if (value := self._int(path)) is not None
        }
        zones |= self._told_celsius(bool(zones))
        return Conditions(
            celsius=max(zones.values(), default=None),
            zones_celsius=zones,
            governors=self._texts("scaling_governor"),
            frequency_mhz=[int(text) / 1000 for text in self._texts("scaling_cur_freq") if text.isdigit()],
            ceiling_mhz=[int(text) / 1000 for text in self._texts("scaling_max_freq") if text.isdigit()],
            bits=self._bits(),
            states=self._ints(self._cooling) | self._android(),
            counters=self._ints(self._counters),
        )

    @property
    def policies(self) -> list[str]:
        """Folders of the clock policies."""
        return list(self._policies)

    def _discover(self, shell: Shell) -> None:
        self._policies = shell.glob(_CPUFREQ)[:_MOST]
        zones = self._typed(shell, "/sys/class/thermal/thermal_zone*", "temp")
        of_processor = {name: path for name, path in zones.items() if _PROCESSOR.search(name)}
        self._zones = dict(list((of_processor or zones).items())[:_MOST])
        cooling = self._typed(shell, "/sys/class/thermal/cooling_device*", "cur_state")
        slowing = {name: path for name, path in cooling.items() if _SLOWS.search(name)}
        self._cooling = dict(list(slowing.items())[:_MOST])
        paths = [path for pattern in _COUNTERS for path in shell.glob(pattern)]
        self._counters = {"/".join(path.split("/")[-2:]): path for path in paths[:_MOST]}
        found = shell.run(["sh", "-c", "command -v vcgencmd; command -v dumpsys; true"])
        self._tools = {line.rpartition("/")[2].strip() for line in found.text.splitlines()}

    def _typed(self, shell: Shell, pattern: str, leaf: str) -> dict[str, str]:
        """Path of one file of every folder that fits, by "folder:type"."""
        found = {}
        for folder in shell.glob(pattern)[:64]:
            kind = (shell.read(f"{folder}/type") or b"").decode(errors="replace").strip()
            found[f"{folder.rpartition('/')[2]}:{kind or 'unknown'}"] = f"{folder}/{leaf}"
        return found

    def _text(self, path: str) -> str | None:
        content = None if self._shell is None else self._shell.read(path)
        return None if content is None else content.decode(errors="replace").strip()

    def _int(self, path: str) -> int | None:
        text = self._text(path)
        return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None

    def _ints(self, paths: dict[str, str]) -> dict[str, int]:
        return {name: value for name, path in paths.items() if (value := self._int(path)) is not None}

    def _texts(self, leaf: str) -> list[str]:
        found = [self._text(f"{policy}/{leaf}") for policy in self._policies]
        return [text for text in found if text]

    def _said(self, *command: str) -> str:
        if self._shell is None or command[0] not in self._tools:
            return ""
        return self._shell.run(list(command)).text

    def _bits(self) -> int | None:
        said = _THROTTLED.search(self._said("vcgencmd", "get_throttled"))
        return int(said[1], 16) if said else None

    def _android(self) -> dict[str, int]:
        said = _STATUS.search(self._said("dumpsys", "thermalservice"))
        return {"thermalservice": int(said[1])} if said else {}

    def _told_celsius(self, known: bool) -> dict[str, float]:
        """Temperatures that a command tells, asked where no zone was read."""
        if known:
            return {}
        if core := _CORE.search(self._said("vcgencmd", "measure_temp")):
            return {"vcgencmd": float(core[1])}
        battery = _BATTERY.search(self._said("dumpsys", "battery"))
        return {"battery": int(battery[1]) / 10} if battery else {}
