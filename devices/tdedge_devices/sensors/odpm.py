"""Google Pixel 6 and later: the on-device power meters of its power management chips (root only).

``/sys/bus/iio/devices/iio:deviceN/energy_value`` holds ``t=251741617`` and a line per enabled rail,
``CH3(T=251741617)[S2M_VDD_CPUCL2], 30203502``: t is when the counters were taken, in milliseconds since
boot, T for how long the rail has been counted, and the last number microwatt-seconds (microjoules),
counting up. The chips refresh every 20 ms to some seconds and repeat what they said in between, so their
own clock is used. Which rails are measured is chosen in ``enabled_rails``. Rails that feed other rails
would count twice: only those of the processor, the graphics, the accelerator and the memory are added up,
unless the setting ``rails`` names others.
Source: drivers/iio/power/odpm.c of the Pixel kernels.
"""

from __future__ import annotations

import re

from tdedge_devices.sensors.sensor import Absent, Reading, Sensor, Settings, Values, chosen
from tdedge_devices.shell import Shell

NAME = "odpm"
PATTERN = "/sys/bus/iio/devices/iio:device*/energy_value"
_RAIL = re.compile(r"CH\d+\(T=(\d+)\)\[([^\]]+)\], (\d+)")
_CLOCK = re.compile(r"^t=(\d+)", re.MULTILINE)
#: Converters of processor cores and memory controller (M), accelerator, graphics and memory (S).
_COMPUTE = re.compile(r"(S1M|S2M|S3M|S4M|S10M|S2S|S4S|S5S|S10S)_")


def counters_of(text: str) -> tuple[dict[str, float], dict[str, int]]:
    """Joules and the meter's own time (ns) of every rail of one ``energy_value``."""
    clock = _CLOCK.search(text)
    energy, at_ns = {}, {}
    for counted_ms, rail, microjoules in _RAIL.findall(text):
        energy[rail] = int(microjoules) * 1e-6
        at_ns[rail] = int(clock[1] if clock else counted_ms) * 1_000_000
    return energy, at_ns


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The enabled rails of all meters."""
    files: dict[str, str] = {}
    labels: list[str] = []
    for path in shell.glob(PATTERN):
        text = shell.read(path)
        if text is not None and (energy := counters_of(text.decode(errors="replace"))[0]):
            files[f"meter {len(files)}"] = path
            labels += energy
    if not files:
        return Absent(NAME, f"no meter that can be read (root only) at {PATTERN}")
    rails, scope = chosen(settings, labels)
    if not settings.get("rails"):
        rails = tuple(label for label in labels if _COMPUTE.match(label))
        if not rails:
            return Absent(NAME, f"none of the enabled rails ({', '.join(labels)}) computes; set rails")
        scope = f"{len(rails)} rails of processor and memory, lower bound"

    def read(values: Values) -> Reading | None:
        energy: dict[str, float] = {}
        at_ns: dict[str, int] = {}
        for name in files:
            more, times = counters_of(values.get(name) or "")
            energy |= more
            at_ns |= times
        return Reading(energy_j=energy, at_ns=at_ns) if all(rail in energy for rail in rails) else None

    return Sensor(NAME, scope, rails, read, files=files, interval_ms=20)
