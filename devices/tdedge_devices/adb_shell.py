"""Commands on an Android device, through the real ``adb``.

Killing an ``adb shell`` on this side leaves what it started running on the device. Therefore a command runs
there under a small script whose standard input is a lifeline: when it ends (the command is cancelled here,
this process dies, the cable is pulled), or brings no beat for too long (the network is gone), the script
kills the command and everything it started, which it knows by a variable in their environments, whatever
groups or sessions they moved to. The script's last word on standard error is a mark with the exit code;
without it, the connection was lost. Nothing but the plainest commands is relied on: the ``timeout`` of
Android's toybox loses the exit code of a command that ends at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.adb_command import Adb, connected, reconnected
from tdedge_devices.shell import Done

#: Where files go on a device: the one folder that its shell may write to and run programs from.
FOLDER = "/data/local/tmp/tdedge"

_GRACE_S = 5.0

_BEAT_S = 10.0
_SILENCE_S = 120

# 3 is the lifeline, 4 keeps the command's standard input open where that is asked for; no process but the two
# shells may hold 3, or adb would wait for that one. Android's shell can wait for a beat (`read -t`); one that
# cannot waits until the connection is closed.
_SCRIPT = """exec 3<&0
{receive}
TDEDGE_JOB={token} {command} <{stdin} 3<&- &
job=$!
{{
  read -t 1 line </dev/null
  [ $? -le 1 ] && silence='-t {silence_s}'
  while read -r $silence line <&3; do :; done
  kill -9 $$
  for round in 1 2 3; do
    for path in $(grep -ls TDEDGE_JOB={token} /proc/[0-9]*/environ); do
      path=${{path#/proc/}}
      kill -9 ${{path%/environ}}
    done
  done
  kill -9 $job
  {forget}
  kill -9 -$$
}} >/dev/null 2>&1 &
dog=$!
{hold}
wait $job
code=$?
kill -9 $dog 2>/dev/null
{forget}
echo >&2
echo {token} $code >&2
exit $code
"""


class AdbShell:
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
        running = _Running(self.adb, command, self.folder, stdin=stdin, hold=hold_stdin)
        try:
            out, _ = running.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"{_name(command)} took longer than {timeout_s:g} s on {self.adb.name} and was ended there"
            ) from None
        finally:
            running.end()
        return running.done(out)

    def start(self, command: Sequence[str]) -> AdbStream:
        """Start a command that is read while it runs; see ``Shell.start``."""
        stream = AdbStream(_Running(self.adb, command, self.folder))
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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

    def __init__(self, running: _Running) -> None:
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


class _Running:
    """One ``adb shell`` with the script around the command."""

    def __init__(
        self,
        adb: Adb,
        command: Sequence[str],
        folder: str,
        *,
        stdin: bytes = b"",
        hold: bool = False,
    ) -> None:
        self._adb, self._command = adb, command
        self._token = f"tdedge-{secrets.token_hex(8)}"
        given = shlex.quote(f"{folder}/.{self._token}.in")
        pipe = shlex.quote(f"{folder}/.{self._token}.pipe")
        receive = f"head -c {len(stdin)} <&3 >{given} || {{ rm -f {given}; exit 1; }}" if stdin else ":"
        script = _SCRIPT.format(
            token=self._token,
            command=shlex.join(command),
            stdin=pipe if hold else given if stdin else "/dev/null",
            receive=f"{receive}\nmkfifo {pipe}" if hold else receive,
            hold=f"exec 4>{pipe}\n[ -f {given} ] && cat {given} >&4" if hold else ":",
            forget=f"rm -f {given} {pipe}" if hold or stdin else ":",
            silence_s=_SILENCE_S,
        )
        reading, self._lifeline = os.pipe()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in done()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - adb itself
                adb.line("shell", "-T", script),
                stdin=reading,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,  # Ctrl-C is for this process, which then ends the command there
            )
        except OSError as error:
            os.close(self._lifeline)
            raise DeviceError(f"cannot start {adb.program!r}: {error.strerror}") from None
        finally:
            os.close(reading)
        self._ending = threading.Event()
        self._ended = threading.Lock()
        self._feeder = threading.Thread(target=self._feed, args=(stdin,), daemon=True)
        self._feeder.start()

    def _feed(self, data: bytes) -> None:
        """Write the command's standard input, then a beat now and then until the command shall end."""
        view = memoryview(data)
        os.set_blocking(self._lifeline, False)
        with contextlib.suppress(OSError):
            while view and not self._ending.is_set():
                if select.select([], [self._lifeline], [], 0.1)[1]:
                    view = view[os.write(self._lifeline, view) :]
        while not self._ending.wait(_BEAT_S):
            with contextlib.suppress(OSError):
                os.write(self._lifeline, b"\n")
        os.close(self._lifeline)

    def end(self) -> None:
        """Cut the lifeline and wait until the device has killed what ran; harmless where it has ended."""
        self._ending.set()
        self._feeder.join()
        with self._ended:
            if self.process.returncode is None and self.process.stdout is not None:
                # What nobody reads any more would keep adb from ending.
                threading.Thread(target=_drain, args=(self.process.stdout,), daemon=True).start()
            try:
                self.process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def done(self, stdout: bytes) -> Done:
        """The command's end.

        Raises:
            DeviceError: it has none: the connection was lost.
        """
        with self._stderr as file:
            file.seek(0)
            stderr = file.read()
        before, mark, after = stderr.rpartition(f"\n{self._token} ".encode())
        if not mark:
            text = stderr.decode(errors="replace")
            why = self._adb.explain(text)
            if not why and "No space left" in text:
                why = f"{self._adb.name} is full: there is no room for the input of {_name(self._command)}"
            if not why and (wrong := self._adb.state()):
                why = f"the connection was lost while {_name(self._command)} ran: {wrong}"
            raise DeviceError(
                why or f"{self._adb.name} ended {_name(self._command)} and the script around it"
            )
        code = int(after.split()[0])
        return Done(code, stdout, before)


def _drain(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while stream.read(65536):
            pass


def _name(command: Sequence[str]) -> str:
    return repr(str(command[0]).rpartition("/")[2])


def _quote_pattern(pattern: str) -> str:
    parts = re.split(r"([*?\[\]!^-]+)", pattern)
    return "".join(part if index % 2 or not part else shlex.quote(part) for index, part in enumerate(parts))
