"""The log of a run: one JSON line per finished piece, from which an interrupted run goes on.

    {"device": "pi5", "event": "begin", "plan": {...}, "time": "2026-11-21T20:15:00+00:00", "ticks_s": 12.5}
    {"device": "pi5", "piece": "onnxruntime/latency/0", "result": {...}, "time": ..., "ticks_s": ...}
    {"device": "pi5", "event": "note", "text": "connection lost: ...", "time": ..., "ticks_s": ...}

Each line is on the disk before the next piece begins. The order of the lines is the order of the work; the
time of day is only told, and where it jumped against the monotonic clock (``ticks_s``) that is noted.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tdedge.errors import UsageError
from tdedge_devices.closing import Closing

#: The time of day may move by this much between two lines (a correction over the network) unmentioned.
_JUMP_S = 2.0


class RunLog(Closing):
    """The log of all devices of a run; without a file it only remembers.

    Args:
        path: of the log.
        resume: go on with the log that is there, and keep the pieces it has.
        force: replace the log that is there.
        now: seconds of the time of day.

    Raises:
        UsageError: the file is there and neither is asked for, it is no log, or it cannot be written.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        resume: bool = False,
        force: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._guard = threading.Lock()
        self._stream: IO[bytes] | None = None
        self._said: tuple[float, float] | None = None
        self._devices: dict[str, _Device] = {}
        if path is None:
            return
        if path.exists() and not resume and not force:
            raise UsageError(f"{path} exists; pass --resume to go on with it, or --force to begin again")
        try:
            content = path.read_bytes() if resume and path.exists() else b""
            whole = self._read(path, content)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("r+b" if whole else "wb")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}; choose another --log") from error
        self._stream.truncate(whole)
        self._stream.seek(whole)

    def begin(self, device: str, plan: Mapping[str, Any]) -> Pieces:
        """The pieces of one device.

        Args:
            device: its name.
            plan: what is measured and how; pieces of another plan are not mixed with these.

        Raises:
            UsageError: the log that is resumed has other models or other options.
        """
        wanted: dict[str, Any] = json.loads(json.dumps(plan))
        known = self._devices.setdefault(device, _Device())
        if known.plan is not None and known.plan != wanted:
            other = next(key for key in {**known.plan, **wanted} if known.plan.get(key) != wanted.get(key))
            raise UsageError(
                f"--resume: the log was made with other {other} for device {device}; "
                "repeat the command that made it, or leave out --resume and choose another --log"
            )
        if known.plan is not None:
            if known.pieces:
                self.note(device, f"resumed with {len(known.pieces)} pieces done before")
        else:
            self._write({"device": device, "event": "begin", "plan": wanted})
        known.plan = wanted
        return Pieces(self, device, known)

    def note(self, device: str, text: str) -> None:
        """Keep a line of text beside the pieces."""
        with self._guard:
            self._devices.setdefault(device, _Device()).notes.append(text)
        self._write({"device": device, "event": "note", "text": text})

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def keep(self, device: str, piece: str, result: Any) -> None:
        """Write down a finished piece."""
        self._write({"device": device, "piece": piece, "result": result})

    def _write(self, entry: dict[str, Any]) -> None:
        with self._guard:
            now, ticks = self._now(), time.monotonic()
            jump = 0.0 if self._said is None else (now - self._said[0]) - (ticks - self._said[1])
            self._said = (now, ticks)
            lines = [entry]
            if abs(jump) > _JUMP_S and "device" in entry:
                text = f"this machine's clock jumped by {jump:+.0f} s; the order of the lines stays"
                self._devices.setdefault(entry["device"], _Device()).notes.append(text)
                lines.insert(0, {"device": entry["device"], "event": "note", "text": text})
            if self._stream is None:
                return
            stamp = {"time": _stamp(now), "ticks_s": round(ticks, 3)}
            for line in lines:
                self._stream.write(json.dumps({**line, **stamp}, allow_nan=False).encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def _read(self, path: Path, content: bytes) -> int:
        """Take in the lines of a log; the length of the whole ones (the last may be cut off)."""
        whole, latest = 0, ""
        for number, line in enumerate(content.splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                device = self._devices.setdefault(str(entry["device"]), _Device())
                device.take(entry)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UsageError(f"{path}: line {number} is no line of a log of tdedge: {error!r}") from error
            if (stamp := str(entry.get("time", ""))) < latest:
                device.notes.append(f"the clock of the log goes back from {latest} to {stamp}")
            latest, whole = stamp, whole + len(line)
        if latest and latest > _stamp(self._now()):
            for device in self._devices.values():
                device.notes.append(f"the log ends at {latest}, which is later than this machine's clock")
        return whole


class Pieces:
    """What is done of one device's run."""

    def __init__(self, log: RunLog, name: str, known: _Device) -> None:
        self._log, self._name, self._known = log, name, known

    def get(self, piece: str) -> Any:
        """The result of a piece that is done; None of one that is not."""
        return self._known.pieces.get(piece)

    def keep(self, piece: str, result: Any) -> None:
        """Write down a finished piece."""
        self._known.pieces[piece] = result
        self._log.keep(self._name, piece, result)

    def note(self, text: str) -> None:
        """Keep a line of text."""
        self._log.note(self._name, text)

    @property
    def notes(self) -> list[str]:
        """All lines of text, in order."""
        return list(self._known.notes)


class _Device:
    def __init__(self) -> None:
        self.plan: dict[str, Any] | None = None
        self.pieces: dict[str, Any] = {}
        self.notes: list[str] = []

    def take(self, entry: dict[str, Any]) -> None:
        if entry.get("event") == "begin":
            self.plan = entry["plan"]
        elif entry.get("event") == "note":
            self.notes.append(entry["text"])
        else:
            self.pieces[entry["piece"]] = entry["result"]


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
