"""This machine as a device, and its shell: commands as processes, files as files."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import SplitResult

from tdedge.artifact import atomic_file
from tdedge.errors import DeviceError, UsageError
from tdedge_devices.address import Settings
from tdedge_devices.shell import Done
from tdedge_devices.workshop import WorkshopDevice

_GRACE_S = 2.0


def connect(url: SplitResult, settings: Settings) -> WorkshopDevice:
    """This machine: ``local:``. Settings: ``python``, ``folder``.

    Raises:
        UsageError: the address says more than the scheme.
    """
    if url.netloc or url.path:
        raise UsageError(f"{url.geturl()!r} names more than this machine; expected local:")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return WorkshopDevice(
        LocalShell(),
        settings.get("python", sys.executable),
        url="local:",
        folder=settings.get("folder", str(cache / "tdedge" / "device")),
    )


class LocalShell:
    """Runs commands on this machine, each in a session of its own, so that nothing of it outlives its end.

    Args:
        folder: where commands start and what relative paths mean; the home folder by default.
        environment: variables of the commands; this process's by default.
    """

    def __init__(self, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder or Path.home()
        self._environment = dict(os.environ if environment is None else environment)
        self._streams: list[LocalStream] = []
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        hold_stdin: bool = False,
    ) -> Done:
        """As ``Shell.run``; a command that cannot be started is one that ended with 127 or 126."""
        try:
            process = self._start(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return Done(code, b"", f"{command[0]}: {error.strerror}".encode())
        assert process.stdin and process.stdout and process.stderr
        self._running.add(process)
        out, err = _Reader(process.stdout), _Reader(process.stderr)
        writer = threading.Thread(target=_feed, args=(process.stdin, stdin, hold_stdin), daemon=True)
        writer.start()
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DeviceError(f"{command[0]} took longer than {timeout_s:g} s and was ended") from None
        finally:
            self._running.discard(process)
            _end(process)
            with contextlib.suppress(OSError):
                process.stdin.close()
        if self._closed and code < 0:
            raise DeviceError(f"{command[0]} was ended: the device was closed")
        return Done(code if code >= 0 else 128 - code, out.text(), err.text())

    def start(self, command: Sequence[str]) -> LocalStream:
        """As ``Shell.start``; standard input of the command stays open as long as it runs."""
        try:
            process = self._start(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except OSError as error:
            raise DeviceError(f"{command[0]} cannot be started: {error.strerror}") from None
        stream = LocalStream(process)
        self._streams.append(stream)
        return stream

    def _start(self, command: Sequence[str], *, stdin: int, stderr: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the caller's own command, as a list
            list(command),
            cwd=self._folder,
            env=self._environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )

    def push(self, source: Path, destination: str) -> None:
        """As ``Shell.push``."""
        target = self._folder / destination
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target, force=True) as scratch:
                shutil.copyfile(source, scratch)
        except (OSError, UsageError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DeviceError(f"{source.name} cannot be copied to {target}: {reason}") from None

    def pull(self, source: str, destination: Path) -> None:
        """As ``Shell.pull``."""
        try:
            with atomic_file(destination, force=True) as scratch:
                shutil.copyfile(self._folder / source, scratch)
        except OSError as error:
            raise DeviceError(f"{source} cannot be copied from this machine: {error.strerror}") from None

    def read(self, path: str) -> bytes | None:
        """As ``Shell.read``."""
        try:
            return (self._folder / path).read_bytes()
        except OSError:
            return None

    def glob(self, pattern: str) -> list[str]:
        """As ``Shell.glob``."""
        return sorted(glob.glob(pattern, root_dir=self._folder))  # noqa: PTH207 - a string of the device

    def close(self) -> None:
        """End the commands that still run, also those another thread waits for, and that are still read."""
        self._closed = True
        for process in list(self._running):
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        for stream in self._streams:
            stream.stop()
        self._streams.clear()


class LocalStream:
    """A process of this machine that is read while it runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def lines(self) -> Iterator[str]:
        """As ``Stream.lines``."""
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # the stream was stopped meanwhile
            for line in self._process.stdout:
                yield line.decode(errors="replace").rstrip("\r\n")

    def stop(self) -> None:
        """As ``Stream.stop``: politely first, so that the command can end its line."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        _end(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


class _Reader:
    """All that comes out of a pipe, read by a thread so that the process never waits for a reader."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._text = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            self._text = self._pipe.read()

    def text(self) -> bytes:
        self._thread.join(_GRACE_S)
        return self._text


def _feed(pipe: IO[bytes], text: bytes, hold: bool) -> None:
    with contextlib.suppress(OSError, ValueError):  # the command ended without reading it
        pipe.write(text)
        pipe.flush()
        if not hold:
            pipe.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group of a process and collect it; what is over is left alone."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
