"""Android (and laptops): the fuel gauge of the battery.

``/sys/class/power_supply/NAME/{type,status,current_now,voltage_now}``: microamperes and microvolts. Vendors
differ: the sign of a discharge (negative since the kernel's documentation of 2020, positive before) is
taken from a reading whose ``status`` is Discharging; currents between 10 and 10 000 are milliamperes, from
10 000 on microamperes (so the sane range is 10 mA to 10 A; the setting ``battery_unit``, mA or uA, decides
otherwise); voltages below 100 000 are millivolts. Where the files are denied (SELinux), ``dumpsys
battery``: ``voltage`` in mV and ``Charge counter`` in uAh, whose difference times the voltage is the
energy; its steps are coarse. A battery tells what the device draws only while nothing else feeds it:
refused with any supply online.
Source: Linux, Documentation/ABI/testing/sysfs-class-power; Android, BatteryManager and BatteryService.
"""

from __future__ import annotations

import functools
import math
import re

from tdedge.errors import UsageError
from tdedge_devices.sensors.sensor import Absent, Reading, Sensor, Settings, Values, number
from tdedge_devices.shell import Shell

NAME = "battery"
PATTERN = "/sys/class/power_supply/*/"
DUMPSYS = ("dumpsys", "battery")
_SCALE = {"mA": 1e-3, "uA": 1e-6}
_MOST_A = 10.0
_COULOMBS = 3.6e-3  # of a microampere-hour


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The battery's current and voltage, or else its charge."""
    folders = [path.removesuffix("type") for path in shell.glob(f"{PATTERN}type")]
    types = {folder: _text(shell, f"{folder}type") for folder in folders}
    batteries = [folder for folder, kind in types.items() if kind == "Battery"]
    for folder in batteries:
        files = {name: f"{folder}{name}" for name in ("current_now", "voltage_now", "status")}
        texts = {name: _text(shell, path) for name, path in files.items()}
        if number(texts["current_now"]) is None or number(texts["voltage_now"]) is None:
            continue
        files |= {f"online {path.split('/')[-2]}": path for path in shell.glob(f"{PATTERN}online")}
        texts |= {name: _text(shell, path) for name, path in files.items()}
        if reason := feeding(texts):
            return Absent(NAME, reason)
        raw = float(texts["current_now"])
        if not raw:
            return Absent(NAME, f"{folder}current_now is 0 while the battery is discharging")
        scale = math.copysign(_scale(raw, settings), raw)
        reader = functools.partial(read, ampere=scale)
        return Sensor(NAME, NAME, (NAME,), reader, files=files, interval_ms=50)
    done = shell.run(list(DUMPSYS), timeout_s=20)
    reading = read_dump(done.text)
    if reading is None:
        return Absent(NAME, f"no current and voltage at {PATTERN} and no charge counter in dumpsys battery")
    if reading.refused:
        return Absent(NAME, reading.refused)
    return Sensor(
        NAME,
        "battery, by its charge",
        (NAME,),
        lambda values: read_dump(values.get("dump") or ""),
        commands={"dump": DUMPSYS},
        interval_ms=100,
    )


def feeding(values: Values) -> str:
    """Why the battery does not tell what the device draws; empty where it does."""
    if (status := (values.get("status") or "").strip()) != "Discharging":
        return f"the battery's status is {status or 'unknown'}, not Discharging; take the cable out"
    for name, text in values.items():
        if name.startswith("online ") and number(text):
            return f"the supply {name.removeprefix('online ')} is online; take the cable out"
    return ""


def read(values: Values, ampere: float) -> Reading | None:
    """Current times voltage; ``ampere`` is the unit of the current, negative where a discharge is."""
    current, voltage = number(values.get("current_now")), number(values.get("voltage_now"))
    if current is None or voltage is None:
        return None
    amperes = current * ampere
    reason = feeding(values)
    if not reason and amperes < 0:
        reason = "the battery's current turned round; it is being charged"
    if not reason and amperes > _MOST_A:
        reason = f"the battery's current of {amperes:g} A is beyond {_MOST_A:g} A; set battery_unit"
    volts = voltage * (1e-3 if voltage < 1e5 else 1e-6)
    return Reading(power_w={NAME: amperes * volts}, refused=reason)


def read_dump(text: str) -> Reading | None:
    """Charge and voltage from ``dumpsys battery``; None where it tells no charge."""
    fields = dict(re.findall(r"^\s*([A-Za-z ]+): (\S+)\s*$", text, re.MULTILINE))
    charge, voltage = number(fields.get("Charge counter")), number(fields.get("voltage"))
    if not charge or not voltage:
        return None
    reason = ""
    if "UPDATES STOPPED" in text:
        reason = "the battery service is frozen; run: dumpsys battery reset"
    powered = [name for name, value in fields.items() if name.endswith("powered") and value == "true"]
    if not reason and (powered or fields.get("status") not in ("3", None)):  # 3 is discharging
        why = ", ".join(powered) or f"status {fields['status']}"
        reason = f"the battery is not discharging ({why}); take the cable out"
    return Reading(charge_c={NAME: -charge * _COULOMBS}, voltage_v=voltage * 1e-3, refused=reason)


def _scale(raw: float, settings: Settings) -> float:
    unit = settings.get("battery_unit") or ("mA" if abs(raw) < 1e4 else "uA")
    if unit not in _SCALE:
        raise UsageError(f"setting battery_unit is {unit!r}; expected mA or uA")
    return _SCALE[unit]


def _text(shell: Shell, path: str) -> str:
    return (shell.read(path) or b"").decode(errors="replace").strip()
