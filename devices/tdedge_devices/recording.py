"""Recordings of energy measurements: everything they were computed from, so that they can be computed again.

A recording is a folder with ``recording.jsonl``. Its lines, in the order in which they came about::

    {"recording": 1, "sensor": NAME, "settings": {...}}
    {"answer": [KIND, ARGUMENT...], "value": ...}     what the device said while its sensor was looked for
    {"ns": N, "values": {NAME: TEXT or null}}         what the sampler printed
    {"window": {...}}                                 the attributes of ``Window``
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.shell import Done, Shell, Stream

FILE = "recording.jsonl"
_VERSION = 1
_KEPT = re.compile(r"energy_|rails$|battery_unit$")

#: What a device was asked, as [KIND, ARGUMENT...], and what it answered.
Answers = list[tuple[list[str], Any]]


@dataclass(frozen=True)
class Window:
    """One idle-run-idle window; moments in nanoseconds of the device's monotonic clock.

    Attributes:
        label: the model.
        idle_before_ns: begin and end of the idle time before.
        run_ns: begin of the first and end of the last inference.
        idle_after_ns: begin and end of the idle time after.
        inferences: how many there were.
        median_ms: median latency of one.
        refused: why the device's own state makes it worthless (throttling).
    """

    label: str
    idle_before_ns: tuple[int, int]
    run_ns: tuple[int, int]
    idle_after_ns: tuple[int, int]
    inferences: int
    median_ms: float | None = None
    refused: tuple[str, ...] = ()


class Recorder:
    """Writes a recording, line by line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: dict[str, Any]) -> None:
        """Write one line."""
        json.dump(line, self._stream, separators=(",", ":"))
        self._stream.write("\n")

    def head(self, sensor: str, settings: Mapping[str, str], answers: Answers) -> None:
        """What was measured and how; of the settings those the figures depend on."""
        chosen = {key: value for key, value in settings.items() if _KEPT.match(key)}
        self.write({"recording": _VERSION, "sensor": sensor, "settings": chosen})
        for question, value in answers:
            self.write({"answer": question, "value": value})

    def sample(self, ns: int, values: dict[str, str | None]) -> None:
        """What the sampler printed."""
        self.write({"ns": ns, "values": values})

    def window(self, window: Window) -> None:
        """A window that is over."""
        self.write({"window": asdict(window)})


@dataclass
class Recording:
    """A recording that was read.

    Attributes:
        sensor: name of the sensor.
        settings: settings of the sensor and of the measurement.
        answers: what the device said while its sensor was looked for.
        samples: when (ns) and what the sampler printed.
        windows: the windows.
    """

    sensor: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    samples: list[tuple[int, dict[str, str | None]]] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)


def load(folder: Path) -> Recording:
    """The recording in a folder.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path, found = folder / FILE, Recording()
    try:
        with path.open(encoding="utf-8") as stream:
            for number, text in enumerate(stream, 1):
                try:
                    _take(found, json.loads(text))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise UsageError(f"{path}, line {number}: not a line of a recording ({error})") from None
    except OSError as error:
        raise UsageError(f"no recording at {path}: {error.strerror}") from None
    if not found.sensor:
        raise UsageError(f"{path} does not begin with a line that names the sensor")
    return found


def _take(recording: Recording, line: dict[str, Any]) -> None:
    if "recording" in line:
        if line["recording"] != _VERSION:
            raise ValueError(f"version {line['recording']}; this release reads {_VERSION}")
        recording.sensor = str(line["sensor"])
        recording.settings = {str(key): str(value) for key, value in line["settings"].items()}
    elif "answer" in line:
        recording.answers[json.dumps(line["answer"])] = line["value"]
    elif "ns" in line:
        recording.samples.append((int(line["ns"]), dict(line["values"])))
    elif "window" in line:
        entry = line["window"]
        spans = {name: (int(entry[name][0]), int(entry[name][1])) for name in entry if name.endswith("_ns")}
        recording.windows.append(Window(**{**entry, **spans, "refused": tuple(entry["refused"])}))
    else:
        raise ValueError("it has none of the known keys")


class ListeningShell:
    """A shell that also notes what the device answers to ``run``, ``read`` and ``glob``.

    Attributes:
        answers: what it noted.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.answers: Answers = []

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> Done:
        """As ``Shell.run``."""
        done = self._shell.run(command, stdin=stdin, timeout_s=timeout_s)
        texts = [text.decode(errors="replace") for text in (done.stdout, done.stderr)]
        self.answers.append((["run", *command], [done.code, *texts]))
        return done

    def read(self, path: str) -> bytes | None:
        """As ``Shell.read``."""
        content = self._shell.read(path)
        value = None if content is None else content.decode(errors="replace")
        self.answers.append((["read", path], value))
        return content

    def glob(self, pattern: str) -> list[str]:
        """As ``Shell.glob``."""
        paths = self._shell.glob(pattern)
        self.answers.append((["glob", pattern], paths))
        return paths

    def start(self, command: Sequence[str]) -> Stream:
        """As ``Shell.start``; not noted."""
        return self._shell.start(command)

    def push(self, source: Path, destination: str) -> None:
        """As ``Shell.push``; not noted."""
        self._shell.push(source, destination)

    def pull(self, source: str, destination: Path) -> None:
        """As ``Shell.pull``; not noted."""
        self._shell.pull(source, destination)

    def close(self) -> None:
        """Nothing: the shell belongs to its device."""


class RecordedShell:
    """The device of a recording, as far as it was asked; nothing can be done on it."""

    def __init__(self, recording: Recording) -> None:
        self._answers = recording.answers

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> Done:
        """What the command printed then."""
        code, *texts = self._answers.get(json.dumps(["run", *command]), [127, "", "not in the recording"])
        return Done(code, *(text.encode() for text in texts))

    def read(self, path: str) -> bytes | None:
        """What the file held then."""
        value = self._answers.get(json.dumps(["read", path]))
        return None if value is None else str(value).encode()

    def glob(self, pattern: str) -> list[str]:
        """What the pattern stood for then."""
        return list(self._answers.get(json.dumps(["glob", pattern]), []))

    def start(self, command: Sequence[str]) -> Stream:
        """Refused."""
        raise DeviceError(f"{command[0]} cannot be started on a recording")

    def push(self, source: Path, destination: str) -> None:
        """Refused."""
        raise DeviceError(f"{source.name} cannot be copied to a recording")

    def pull(self, source: str, destination: Path) -> None:
        """Refused."""
        raise DeviceError(f"{source} cannot be copied from a recording")

    def close(self) -> None:
        """Nothing."""
