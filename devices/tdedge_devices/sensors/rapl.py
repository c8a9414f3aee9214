"""Intel and AMD processors: the counters of RAPL.

``/sys/class/powercap/intel-rapl:N[:M]/{name,energy_uj,max_energy_range_uj}``: microjoules, counting up and
beginning again at zero after ``max_energy_range_uj``. A zone "package-N" holds its "core" and "uncore", which
are not counted again; "dram" lies beside its package; "psys" (the platform) holds them all and is left out.
Readable for root alone since Linux 5.10 (CVE-2020-8694); virtual machines have none.
Source: Linux, Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

from tdedge_devices.sensors.sensor import Absent, Reading, Sensor, Settings, Values, chosen, number
from tdedge_devices.shell import Shell

NAME = "rapl"
PATTERN = "/sys/class/powercap/intel-rapl:*/name"


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The packages and memories of the processor."""
    files: dict[str, str] = {}
    wraps: dict[str, float] = {}
    denied = False
    for path in shell.glob(PATTERN):
        zone = path.rpartition("/")[0]
        name = _text(shell, path)
        if not (name.startswith("package") or name == "dram"):
            continue
        if name == "dram":
            name = f"dram-{zone.rpartition('intel-rapl:')[2].partition(':')[0]}"
        if number(_text(shell, f"{zone}/energy_uj")) is None:
            denied = True
            continue
        files[name] = f"{zone}/energy_uj"
        if reach := number(_text(shell, f"{zone}/max_energy_range_uj")):
            wraps[name] = reach * 1e-6
    if denied:
        return Absent(NAME, "energy_uj of RAPL cannot be read; root may (chmod a+r, or run as root)")
    if not files:
        return Absent(NAME, f"no processor package at {PATTERN}")
    rails, scope = chosen(settings, sorted(files))
    if not settings.get("rails"):
        scope = "package and memory" if any(name.startswith("dram") for name in rails) else "package"

    def read(values: Values) -> Reading | None:
        counters = {name: number(values.get(name)) for name in files}
        energy = {name: value * 1e-6 for name, value in counters.items() if value is not None}
        return Reading(energy_j=energy) if len(energy) == len(files) else None

    return Sensor(NAME, scope, rails, read, files=files, wrap_j=wraps)


def _text(shell: Shell, path: str) -> str:
    return (shell.read(path) or b"").decode(errors="replace").strip()
