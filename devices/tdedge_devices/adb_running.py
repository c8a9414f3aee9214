"""One command that runs on an Android device, and ends there with its end here.

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
import secrets
import select
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import IO

from tdedge.errors import DeviceError
from tdedge_devices.adb_command import Adb
from tdedge_devices.shell import Done

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


class Running:
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
                what = command_name(self._command)
                why = f"{self._adb.name} is full: there is no room for the input of {what}"
            if not why and (wrong := self._adb.state()):
                why = f"the connection was lost while {command_name(self._command)} ran: {wrong}"
            raise DeviceError(
                why or f"{self._adb.name} ended {command_name(self._command)} and the script around it"
            )
        code = int(after.split()[0])
        return Done(code, stdout, before)


def _drain(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while stream.read(65536):
            pass


def command_name(command: Sequence[str]) -> str:
    """A command in a message."""
    return repr(str(command[0]).rpartition("/")[2])
