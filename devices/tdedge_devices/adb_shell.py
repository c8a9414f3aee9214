"""Commands and files of an Android device, through the real ``adb``."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.adb_command import Adb, connected, reconnected
from tdedge_devices.adb_running import Running, command_name
from tdedge_devices.closing import Closing
from tdedge_devices.shell import Done

#: Where files go on a device: the one folder that its shell may write to and run programs from.
FOLDER = "/data/local/tmp/tdedge"


class AdbShell(Closing):
    """Commands and files of one device; see ``tdedge_devices.shell.HoldingShell``.

    Attributes:
        adb: the command for this device.
        folder: the folder on the device that is written to.
    """

    def __init__(self, adb: Adb, *, folder: str = FOLDER) -> None:
        self.adb = adb
        self.folder = folder
        self._streams: list[AdbStream] = []
        self._ports: list[tuple[str, str]] = []

    @classmethod
    def connect(cls, serial: str, *, adb: str = "", folder: str = FOLDER) -> AdbShell:
        """The shell of a device; its folder is made.

        Args:
            serial: as ``adb devices`` lists it, or HOST:PORT, or empty for the only device there is.
            adb: path of the command; found on the PATH where empty.
            folder: the folder on the device.

        Raises:
            MissingError: adb is not installed.
            DeviceError: the device cannot be used; says what to do.
        """
        shell = cls(connected(serial, adb), folder=folder)
        try:
            shell._make_folder(shell.folder)
        except DeviceError:
            if not reconnected(shell.adb):
                raise
            shell._make_folder(shell.folder)
        return shell

    @property
    def serial(self) -> str:
        """The device's serial, or its address."""
        return self.adb.serial

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        hold_stdin: bool = False,
    ) -> Done:
        """Run a command to its end; see ``HoldingShell.run``."""
        running = Running(self.adb, command, self.folder, stdin=stdin, hold=hold_stdin)
        try:
            out, _ = running.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            what = f"{command_name(command)} took longer than {timeout_s:g} s on {self.adb.name}"
            raise DeviceError(f"{what} and was ended there") from None
        finally:
            running.end()
        return running.done(out)

    def start(self, command: Sequence[str]) -> AdbStream:
        """Start a command that is read while it runs; see ``Shell.start``."""
        stream = AdbStream(Running(self.adb, command, self.folder))
        self._streams.append(stream)
        return stream

    def push(self, source: Path, destination: str) -> None:
        """Copy a file to the device under another name, then rename it; see ``Shell.push``."""
        if not Path(source).is_file():
            raise UsageError(f"no file at {str(source)!r} to copy to {self.adb.name}")
        self._make_folder(os.path.dirname(destination) or ".")  # noqa: PTH120 - a path of the device
        part = f"{destination}.{secrets.token_hex(4)}.part"
        size = Path(source).stat().st_size
        try:
            self.adb.call("push", str(source), part, timeout_s=60.0 + size / 1e6)
            moved = self.run(["mv", "-f", part, destination])
        except (DeviceError, KeyboardInterrupt) as error:
            with contextlib.suppress(DeviceError):
                self.run(["rm", "-f", part], timeout_s=10.0)
            if "No space left" in str(error):
                raise DeviceError(
                    f"{self.adb.name} is full: {Path(source).name} ({size} bytes) does not fit; "
                    f"make room under {self.folder}"
                ) from None
            raise
        if moved.code:
            self.run(["rm", "-f", part])
            raise DeviceError(f"cannot write {destination!r} on {self.adb.name}: {moved.last_line}")

    def pull(self, source: str, destination: Path) -> None:
        """Copy a file from the device, whole or not at all; see ``Shell.pull``."""
        part = Path(destination).with_name(f".{Path(destination).name}.{secrets.token_hex(4)}.part")
        try:
            self.adb.call("pull", source, str(part), timeout_s=600.0)
            part.replace(destination)
        finally:
            part.unlink(missing_ok=True)

    def read(self, path: str) -> bytes | None:
        """A small file of the device; see ``Shell.read``."""
        done = self.run(["cat", path])
        return done.stdout if done.code == 0 else None

    def glob(self, pattern: str) -> list[str]:
        """The paths a pattern stands for; see ``Shell.glob``."""
        script = f'for path in {_quote_pattern(pattern)}; do [ -e "$path" ] && printf "%s\\n" "$path"; done'
        return sorted(self.run(["sh", "-c", script]).stdout.decode(errors="replace").splitlines())

    def forward(self, remote_port: int, local_port: int = 0) -> int:
        """Let a port of this machine lead to one of the device, until ``close``.

        Args:
            remote_port: the TCP port on the device.
            local_port: the one here; 0 takes one that is free.

        Returns:
            The port here.
        """
        port = self._lead("forward", local_port, remote_port)
        self._ports.append(("forward", f"tcp:{port}"))
        return port

    def reverse(self, remote_port: int, local_port: int) -> int:
        """Let a port of the device lead to one of this machine, until ``close``.

        Args:
            remote_port: the TCP port on the device; 0 takes one that is free.
            local_port: the one here.

        Returns:
            The port on the device.
        """
        port = self._lead("reverse", remote_port, local_port)
        self._ports.append(("reverse", f"tcp:{port}"))
        return port

    def close(self) -> None:
        """End every command that still runs and every forwarded port."""
        for stream in self._streams:
            stream.stop()
        self._streams.clear()
        for kind, port in reversed(self._ports):
            with contextlib.suppress(DeviceError):
                self.adb.call(kind, "--remove", port, timeout_s=10.0)
        self._ports.clear()

    def _lead(self, kind: str, listening: int, to: int) -> int:
        text = self.adb.call(kind, f"tcp:{listening}", f"tcp:{to}", timeout_s=20.0).strip()
        last = text.rpartition("\n")[2]
        return int(last) if last.isdigit() else listening

    def _make_folder(self, folder: str) -> None:
        made = self.run(["mkdir", "-p", folder])
        if made.code:
            raise DeviceError(f"cannot make the folder {folder!r} on {self.adb.name}: {made.last_line}")


class AdbStream:
    """A command that still runs; see ``tdedge_devices.shell.Stream``."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._stopped = False

    def lines(self) -> Iterator[str]:
        """Its standard output, line by line; see ``Stream.lines``."""
        assert self._running.process.stdout is not None
        for line in self._running.process.stdout:
            yield line.decode(errors="replace").rstrip("\r\n")
        self._running.process.wait()
        if not self._stopped:
            self._running.done(b"")

    def stop(self) -> None:
        """End the command and everything it started on the device."""
        self._stopped = True
        self._running.end()


def _quote_pattern(pattern: str) -> str:
    parts = re.split(r"([*?\[\]!^-]+)", pattern)
    return "".join(part if index % 2 or not part else shlex.quote(part) for index, part in enumerate(parts))
