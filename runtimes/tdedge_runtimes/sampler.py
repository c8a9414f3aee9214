"""Samples files and commands of a device on its monotonic clock; one process, standard library only.

The request is one JSON object, the first argument or else the first line of standard input::

    {"interval_ms": 20, "files": {NAME: PATH}, "commands": {NAME: [ARGV]}, "streams": {NAME: [ARGV]}}

It prints one JSON line per sample, ``{"ns": N, "values": {NAME: TEXT or null}}``: the middle of the reading
on ``time.monotonic_ns``, and null where a file or command gave nothing. Files stay open and are read again
from their beginning; where that took far longer than usual, the process was held up in between, nobody
knows when the values were, and the sample is left out. Commands are run for every sample, without a shell;
a stream is a command that is started once and prints by itself: each of its lines is a sample of its own.
The process ends, and its commands with it, when standard input closes. The file alone is enough: ``python3
-c SOURCE REQUEST``.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, NoReturn

_MAX_BYTES = 1 << 16
_COMMAND_SECONDS = 5.0
_SPARE_NS = 2_000_000


class OpenFile:
    """A file that is read again and again; opened anew where it was replaced or cannot be read again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def read(self) -> str | None:
        """Its text now; ``None`` where there is none that can be read."""
        for _ in range(2):
            try:
                if self._descriptor < 0:
                    self._descriptor = os.open(self._path, os.O_RDONLY)
                elif os.fstat(self._descriptor).st_nlink == 0:
                    raise OSError("replaced")
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                if data := os.read(self._descriptor, _MAX_BYTES):
                    return data.decode(errors="replace")
            except OSError:
                pass
            self.close()
        return None

    def close(self) -> None:
        """Close it; the next reading opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Sampler:
    """What one request asks for.

    Args:
        request: The JSON object.

    Raises:
        ValueError: It is not as described above.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        if unknown := set(request) - {"interval_ms", "files", "commands", "streams"}:
            raise ValueError(f"a request has no key {sorted(unknown)[0]!r}")
        self._interval_ns = int(float(request.get("interval_ms", 20)) * 1e6)
        if self._interval_ns <= 0:
            raise ValueError(f"interval_ms is {request['interval_ms']!r}; expected more than 0")
        self._files = {name: OpenFile(path) for name, path in request.get("files", {}).items()}
        self._commands: dict[str, list[str]] = request.get("commands", {})
        self._streams: dict[str, list[str]] = request.get("streams", {})
        self._children: list[subprocess.Popen[str]] = []
        self._took_ns: collections.deque[int] = collections.deque(maxlen=33)  # the latest readings
        self._ended = threading.Event()
        self._writing = threading.Lock()

    def run(self) -> None:
        """Sample until ``stop``."""
        for name, argv in self._streams.items():
            threading.Thread(target=self._follow, args=(name, argv), daemon=True).start()
        due = time.monotonic_ns()
        while not self._ended.is_set():
            if self._files or self._commands or not self._streams:
                self._sample()
            late = time.monotonic_ns() - due
            due += self._interval_ns * (1 + max(0, late) // self._interval_ns)
            self._ended.wait(max(0, due - time.monotonic_ns()) / 1e9)

    def stop(self) -> None:
        """End sampling and every stream."""
        self._ended.set()
        for child in self._children:
            child.kill()

    def _sample(self) -> None:
        begin = time.monotonic_ns()
        values = {name: file.read() for name, file in self._files.items()}
        if self._held_up(time.monotonic_ns() - begin):
            return
        values.update({name: _output(argv) for name, argv in self._commands.items()})
        self._write((begin + time.monotonic_ns()) // 2, values)

    def _held_up(self, took_ns: int) -> bool:
        self._took_ns.append(took_ns)
        usual = sorted(self._took_ns)[len(self._took_ns) // 2]
        return took_ns > 3 * usual + _SPARE_NS

    def _follow(self, name: str, argv: list[str]) -> None:
        try:
            child = subprocess.Popen(  # noqa: S603 - the host asks for this command
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
            )
        except OSError:
            self._write(time.monotonic_ns(), {name: None})
            return
        self._children.append(child)
        if self._ended.is_set():
            child.kill()
        for line in child.stdout or ():
            self._write(time.monotonic_ns(), {name: line.rstrip("\n")})

    def _write(self, ns: int, values: dict[str, str | None]) -> None:
        line = json.dumps({"ns": ns, "values": values}, separators=(",", ":")) + "\n"
        try:
            with self._writing:
                sys.stdout.write(line)
                sys.stdout.flush()
        except OSError:  # nobody reads any more
            self.stop()


def _output(argv: list[str]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - the host asks for this command
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace")


def main() -> int:
    """Sample what the request asks for until standard input closes."""
    text = sys.argv[1] if len(sys.argv) > 1 else sys.stdin.readline()
    try:
        sampler = Sampler(json.loads(text))
    except (ValueError, TypeError, AttributeError) as error:
        print(f"not a request for the sampler: {error}", file=sys.stderr)
        return 2

    def wait() -> None:
        while sys.stdin.read(1 << 12):
            pass
        sampler.stop()

    threading.Thread(target=wait, daemon=True).start()
    with contextlib.suppress(OSError):  # in time also where all cores are busy; not everybody may
        os.nice(-10)
    try:
        sampler.run()
    except KeyboardInterrupt:
        pass
    finally:
        sampler.stop()  # also here: the thread above may not be done with it when the process leaves
    return 0


def start() -> NoReturn:
    """``main`` as the whole program; leaves at once, whatever its threads wait for."""
    code = main()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    start()
