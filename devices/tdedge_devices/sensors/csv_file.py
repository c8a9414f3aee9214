"""Any instrument that writes a table: a CSV file with a column of time and one of power or energy.

Settings: ``csv`` (the file) and the columns, each ``NAME:UNIT``: ``csv_time`` (s, ms, us, ns, or iso8601),
and either ``csv_power`` (W, mW, uW), ``csv_energy`` (J, mJ, uJ, Wh: a counter that rises), or both
``csv_current`` (A, mA, uA) and ``csv_voltage`` (V, mV). ``csv_clock`` says what the time is: ``epoch``
(this machine's date; iso8601 without a zone is UTC; the default), ``monotonic`` (this machine's
CLOCK_MONOTONIC), or a number, the date in seconds since 1970 at which the column is 0. ``csv_wait_s`` (10):
how long the file may take, after the last window, until it reaches the end. Lines before the header
(comments with #) and after it that hold no numbers are left out.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.sensors.meter import Add, metered
from tdedge_devices.sensors.sensor import Absent, Sensor, Settings
from tdedge_devices.shell import Shell

NAME = "csv"
SCOPE = "what the instrument of the CSV file is wired to"
UNITS = {
    "time": {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "iso8601": 0.0},
    "power": {"W": 1.0, "mW": 1e-3, "uW": 1e-6},
    "energy": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "Wh": 3600.0},
    "current": {"A": 1.0, "mA": 1e-3, "uA": 1e-6},
    "voltage": {"V": 1.0, "mV": 1e-3},
}
_STEP_JUMP_NS = 50_000_000


def find(shell: Shell, settings: Settings) -> Sensor | Absent:
    """The file that the settings name; it may appear later."""
    if NAME not in settings:
        return Absent(NAME, "no file; name one by the setting csv")
    return metered(NAME, SCOPE, CsvFile(settings))


class CsvFile:
    """The file as an instrument; see ``sensor.Meter``.

    Args:
        settings: as above.

    Raises:
        UsageError: a setting is wrong or absent.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = Path(settings[NAME]).expanduser()
        self._columns = {
            kind: _column(kind, settings[f"csv_{kind}"]) for kind in UNITS if f"csv_{kind}" in settings
        }
        kinds = set(self._columns) - {"time"}
        if "time" not in self._columns or kinds not in ({"power"}, {"energy"}, {"current", "voltage"}):
            raise UsageError(
                "a CSV file needs the settings csv_time and either csv_power, csv_energy, or csv_current and "
                f"csv_voltage; given are {', '.join(f'csv_{kind}' for kind in self._columns) or 'none'}"
            )
        self._clock = settings.get("csv_clock", "epoch")
        self._wait_s = _seconds("csv_wait_s", settings.get("csv_wait_s", "10"))
        if self._clock not in ("epoch", "monotonic"):
            _seconds("csv_clock", self._clock)
        self._add: Add | None = None
        self._epoch_ns = 0

    def start(self, add: Add) -> None:
        """Note how this machine's two clocks stand to each other; look at what is there of the file.

        Raises:
            UsageError: a declared column is absent.
        """
        self._add, self._epoch_ns = add, _epoch_ns()
        next(self.samples(), None)

    def stop(self) -> None:
        """Take the samples of the file, once it has reached the present.

        Raises:
            DeviceError: this machine's date was changed meanwhile.
            UsageError: the file cannot be read as declared.
        """
        assert self._add is not None
        end_ns = time.monotonic_ns()
        if self._clock != "monotonic" and abs(jump := _epoch_ns() - self._epoch_ns) > _STEP_JUMP_NS:
            raise DeviceError(
                f"this machine's date jumped by {jump * 1e-9:.3g} s during the measurement, so the times in "
                f"{self._path.name} do not fit; measure again, or use csv_clock=monotonic"
            )
        deadline = time.monotonic() + self._wait_s
        while (samples := list(self.samples())) or time.monotonic() < deadline:
            if (samples and samples[-1][0] >= end_ns) or time.monotonic() >= deadline:
                break
            time.sleep(0.2)
        for ns, values in samples:
            self._add(ns, values)

    def samples(self) -> Iterator[tuple[int, dict[str, float]]]:
        """This machine's monotonic times and the values of all lines.

        Raises:
            UsageError: a declared column is absent.
        """
        try:
            text = self._path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError:
            return
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        delimiter = ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
        for row in csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True):
            for name, _ in self._columns.values():
                if name not in row:
                    found = ", ".join(str(key) for key in row)
                    raise UsageError(f"{self._path.name} has no column {name!r}; it has {found}")
            try:
                ns, *values = (self._value(kind, row[name]) for kind, (name, _) in self._columns.items())
            except (ValueError, TypeError):
                continue  # units below the header, a line that is being written
            kinds = [kind for kind in self._columns if kind != "time"]
            if kinds == ["energy"]:
                yield int(ns), {"energy_j": values[0]}
            else:
                yield int(ns), {"power_w": values[0] if len(values) == 1 else values[0] * values[1]}

    def _value(self, kind: str, text: str) -> float | int:
        scale = UNITS[kind][self._columns[kind][1]]
        if kind != "time":
            return float(text) * scale
        if not scale:
            moment = datetime.fromisoformat(text.strip())
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            since = moment - datetime(1970, 1, 1, tzinfo=UTC)
            return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000 - self._epoch_ns
        whole, _, fraction = text.strip().partition(".")
        ns = int(whole) * int(scale) + round(float(f"0.{fraction or 0}") * scale)
        if self._clock == "monotonic":
            return ns
        start_ns = 0 if self._clock == "epoch" else round(float(self._clock) * 1e9)
        return ns + start_ns - self._epoch_ns


def _epoch_ns() -> int:
    """The date at which this machine's monotonic clock is 0."""
    return time.time_ns() - time.monotonic_ns()


def _column(kind: str, text: str) -> tuple[str, str]:
    name, _, unit = text.rpartition(":")
    if not name or unit not in UNITS[kind]:
        units = ", ".join(UNITS[kind])
        raise UsageError(f"setting csv_{kind} is {text!r}; expected NAME:UNIT, with a unit of {units}")
    return name, unit


def _seconds(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        expected = "epoch, monotonic or a number of seconds" if name == "csv_clock" else "a number of seconds"
        raise UsageError(f"setting {name} is {text!r}; expected {expected}") from None
