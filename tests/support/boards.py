"""Recorded devices that play a known power: files and programs in the true formats, at any moment."""

import math
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tdedge_devices.replay import TreeShell
from tdedge_devices.series import collect


@dataclass(frozen=True)
class Wave:
    """Power ``mean + swing * sin(2 pi t / period)`` in watts; its integral is known in closed form."""

    mean: float = 5.0
    swing: float = 2.0
    period: float = 0.7

    def watts(self, t):
        return self.mean + self.swing * math.sin(2 * math.pi * t / self.period)

    def joules(self, t):
        turn = 2 * math.pi / self.period
        return self.mean * t + self.swing * (1 - math.cos(turn * t)) / turn


@dataclass
class Board:
    """A device that is recorded.

    Attributes:
        files: path on the device -> text at second t.
        programs: name -> {arguments -> text at second t}.
    """

    files: dict = field(default_factory=dict)
    programs: dict = field(default_factory=dict)

    def shell(self, folder, t=0.0):
        """The device as it stands at second t."""
        self.write(folder, t)
        return TreeShell(folder / "tree", {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"})

    def write(self, folder, t):
        for path, text in self.files.items():
            file = folder / "tree" / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text(t) if callable(text) else text)
        for name, answers in self.programs.items():
            script = folder / "bin" / name
            script.parent.mkdir(parents=True, exist_ok=True)
            cases = "".join(
                f"{shape(args)})\ncat <<'END'\n{text(t)}\nEND\n;;\n" for args, text in answers.items()
            )
            script.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) echo unknown >&2; exit 1;;\nesac\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def values(self, sensor, folder, t):
        """What the sampler would read for this sensor at second t."""
        root = str(folder / "tree")
        texts = {}
        for name, path in sensor.files.items():
            text = self.files.get(path.removeprefix(root))
            texts[name] = text(t) if callable(text) else text
        for name, argv in (*sensor.commands.items(), *sensor.streams.items()):
            answers = self.programs[argv[0]]
            texts[name] = next(
                (text(t) for args, text in answers.items() if args == " ".join(argv[1:])), None
            )
        return texts

    def samples(self, sensor, folder, times_s, begin_ns=0):
        return [(begin_ns + round(t * 1e9), self.values(sensor, folder, t)) for t in times_s]


def shape(arguments):
    return f'"{arguments}"' if arguments else '""'


def every(interval_s, until_s):
    return [i * interval_s for i in range(round(until_s / interval_s) + 1)]


def played(board, sensor, folder: Path, until_s=12.0, interval_s=None, times_s=None):
    """The series of a sensor of a board that plays its wave."""
    times = times_s or every(interval_s or sensor.interval_ms / 1e3, until_s)
    readings = [(ns, sensor.read(values)) for ns, values in board.samples(sensor, folder, times)]
    return collect([(ns, reading) for ns, reading in readings if reading is not None], sensor.wrap_j)


def total_j(samples, sensor, begin_s, end_s):
    return sum(
        samples.rails[rail].energy_j(round(begin_s * 1e9), round(end_s * 1e9)) for rail in sensor.rails
    )
