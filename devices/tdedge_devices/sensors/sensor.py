"""What a sensor is: texts to sample on a device, and how they become watts or joules per rail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tdedge.errors import UsageError

Settings = Mapping[str, str]

#: What the sampler read, by name; None where there was nothing to read.
Values = Mapping[str, str | None]


@dataclass(frozen=True)
class Reading:
    """One sample, by rail.

    Attributes:
        power_w: power at this moment.
        energy_j: counters of energy.
        charge_c: counters of charge that has left a battery, integrated with ``voltage_v``.
        voltage_v: voltage of that battery.
        at_ns: when the sensor itself took the counter of a rail, on a clock of its own.
        refused: why nothing may be concluded from this moment; empty where all is well.
    """

    power_w: Mapping[str, float] = field(default_factory=dict)
    energy_j: Mapping[str, float] = field(default_factory=dict)
    charge_c: Mapping[str, float] = field(default_factory=dict)
    voltage_v: float = 0.0
    at_ns: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""


class Meter(Protocol):
    """An instrument at this machine; its samples are on this machine's monotonic clock."""

    def start(self, add: Callable[[int, dict[str, float]], None]) -> None:
        """Begin; ``add(monotonic_ns, {"power_w": ...} or {"energy_j": ...})`` is called from any thread."""
        ...

    def stop(self) -> None:
        """End; all samples have been added when this returns."""
        ...


@dataclass(frozen=True)
class Sensor:
    """A sensor of one device.

    Attributes:
        name: its name in ``SENSORS``.
        scope: what it measures, in a word or two: "module", "package", "12 rails, lower bound".
        rails: the rails that add up to the energy; other rails of a reading are reported beside it.
        read: what the sampler read to a reading; None where a part is missing.
        files: texts to sample: name to path on the device.
        commands: commands to run for every sample.
        streams: commands that print samples by themselves.
        interval_ms: time between samples that suits it.
        wrap_j: rail to the energy at which its counter begins again at zero.
        meter: the instrument, where it is not on the device.
    """

    name: str
    scope: str
    rails: tuple[str, ...]
    read: Callable[[Values], Reading | None]
    files: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    streams: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    interval_ms: float = 20.0
    wrap_j: Mapping[str, float] = field(default_factory=dict)
    meter: Meter | None = None


@dataclass(frozen=True)
class Absent:
    """A sensor that is not there, or cannot be used.

    Attributes:
        name: its name in ``SENSORS``.
        reason: what was looked for and what was found.
    """

    name: str
    reason: str


def number(text: str | None) -> float | None:
    """The number a file holds; None where it holds none."""
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def chosen(settings: Settings, rails: list[str], whole: tuple[str, ...] = ()) -> tuple[tuple[str, ...], str]:
    """The rails that add up to the energy, and the word for them.

    Args:
        settings: ``rails`` names them, separated by commas.
        rails: the rails there are.
        whole: rails that alone are the whole module, the first that is there.

    Raises:
        UsageError: the settings name a rail that is not there.
    """
    if wanted := [name.strip() for name in settings.get("rails", "").split(",") if name.strip()]:
        if missing := [name for name in wanted if name not in rails]:
            raise UsageError(f"there is no rail {missing[0]!r}; the sensor has {', '.join(rails)}")
        return tuple(wanted), f"rails {', '.join(wanted)}"
    for name in whole:
        if name in rails:
            return (name,), "module"
    return tuple(rails), f"{len(rails)} rails, lower bound"
