"""The ``adb`` command of this machine: found, run, and what it says turned into one clear line.

Its server is whichever ``ANDROID_ADB_SERVER_PORT`` names, as for every other use of ``adb``; one that does
not run is started.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tdedge.errors import DeviceError, MissingError, UsageError

_INSTALL = "apt-get install adb (or the platform tools of the Android SDK)"
_TCP = re.compile(r".+:\d{1,5}")

#: What adb says -> what to do, in the order of trial. ``{serial}`` is the device's.
_REMEDIES = (
    ("unauthorized", "{serial} does not trust this computer: unlock it and accept the question it shows"),
    ("still connecting", "{serial} is still connecting: try again in a few seconds"),
    ("still authorizing", "{serial} is still connecting: try again in a few seconds"),
    ("offline", "{serial} is offline: plug it in again, or switch its debugging off and on"),
    ("no permissions", "adb may not open {serial}: the system's udev rules for Android are missing"),
    (
        "more than one device",
        "several devices are connected: name one of them, as adb://SERIAL; 'adb devices' lists them",
    ),
    ("no devices/emulators", "no Android device is connected: plug it in and switch on its USB debugging"),
    (
        "not found",
        "no device {serial} is connected: 'adb devices' lists those that are; plug it in and switch on its "
        "USB debugging, or give its address as adb://HOST:PORT",
    ),
)


@dataclass(frozen=True)
class Adb:
    """The command, and the device it is for.

    Attributes:
        program: path of ``adb``.
        serial: the device's; empty means the only one there is.
    """

    program: str
    serial: str = ""

    @property
    def name(self) -> str:
        """The device in a message."""
        return self.serial or "the device"

    def line(self, *words: str) -> list[str]:
        """The command line of ``adb WORDS`` for this device."""
        return [self.program, *(("-s", self.serial) if self.serial else ()), *words]

    def call(self, *words: str, timeout_s: float = 60.0) -> str:
        """What ``adb WORDS`` prints, both streams together.

        Raises:
            DeviceError: it failed, or took longer than ``timeout_s``.
        """
        code, text = _output(self.line(*words), timeout_s)
        if code:
            raise DeviceError(self.explain(text) or f"adb {words[0]} failed on {self.name}: {_last(text)}")
        return text

    def state(self) -> str:
        """What is wrong with the device, as one line; empty where it is ready for commands."""
        code, text = _output(self.line("get-state"), 20.0)
        if code == 0 and text.strip() == "device":
            return ""
        return self.explain(text) or self.explain(text.strip()) or f"{self.name} is in state {_last(text)!r}"

    def explain(self, text: str) -> str:
        """What adb's own error means and what to do, or nothing where it is none that is known."""
        for line in text.splitlines():
            if not line.startswith(("error:", "adb:", "adb.exe:")) and line.strip() not in _STATES:
                continue
            for words, remedy in _REMEDIES:
                if words in line:
                    return remedy.format(serial=self.name)
        return ""


_STATES = ("offline", "unauthorized", "authorizing", "connecting", "no permissions")


def find_adb(program: str = "") -> str:
    """The path of ``adb``: the given one, or the one on the PATH.

    Raises:
        MissingError: there is none.
        UsageError: the given one is no program.
    """
    if program:
        if found := shutil.which(program):
            return found
        raise UsageError(f"adb = {program!r} is no program; give the path of adb, or leave it out")
    if found := shutil.which("adb"):
        return found
    raise MissingError(f"adb is not installed; install it with: {_INSTALL}")


def connected(serial: str, program: str = "") -> Adb:
    """The command for one device that is ready; a serial HOST:PORT is connected to first.

    Args:
        serial: a line of ``adb devices``, an address HOST:PORT, or nothing for the only device there is.
        program: path of ``adb``; found on the PATH where empty.

    Raises:
        MissingError: adb is not installed.
        DeviceError: no such device, several of them, or one that takes no commands; says what to do.
    """
    adb = Adb(find_adb(program), serial)
    code, text = _output([adb.program, "start-server"], 30.0)
    if code:
        raise DeviceError(f"adb cannot start its server: {_last(text)}")
    _connect(adb)
    if (wrong := adb.state()) and not reconnected(adb):
        raise DeviceError(wrong)
    if "shell_v2" not in (features := adb.call("features").split()):
        raise DeviceError(
            f"{adb.name} is too old: its adb has {', '.join(features) or 'no features'}; expected shell_v2, "
            "which comes with Android 7"
        )
    return adb


def reconnected(adb: Adb) -> bool:
    """Whether a new connection over the network made the device ready; adb keeps dead ones for a while.

    Raises:
        DeviceError: the device does not answer.
    """
    if not _TCP.fullmatch(adb.serial):
        return False
    _output([adb.program, "disconnect", adb.serial], 20.0)
    _connect(adb)
    return not adb.state()


def _connect(adb: Adb) -> None:
    if not _TCP.fullmatch(adb.serial):
        return
    _, text = _output([adb.program, "connect", adb.serial], 30.0)
    if not re.search(r"^(already )?connected to", text, re.MULTILINE):
        raise DeviceError(
            f"cannot reach {adb.serial}: adb says {_last(text)!r}; check that the device is on, in the same "
            "network, and that its wireless debugging listens on this port"
        )


def devices(program: str = "") -> dict[str, str]:
    """The serials adb knows, each with its state, as "device" or "unauthorized".

    Raises:
        MissingError: adb is not installed.
    """
    _, text = _output([find_adb(program), "devices"], 30.0)
    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    return {serial: state.strip() for serial, state, *_ in rows}


def _output(line: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Exit code and text of a command. To a file: a server that is started here would keep a pipe open."""
    with tempfile.TemporaryFile() as file:
        try:
            code = subprocess.run(  # noqa: S603 - adb itself
                line,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            what = " ".join(Path(word).name for word in line[:4])
            raise DeviceError(f"{what} gave no answer for {timeout_s:g} s: 'adb kill-server' helps") from None
        except OSError as error:
            raise MissingError(
                f"cannot start {line[0]!r} ({error.strerror}); install it with: {_INSTALL}"
            ) from None
        file.seek(0)
        return code, file.read().decode(errors="replace")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("* daemon")]
    errors = [line for line in lines if "error: " in line]
    return (errors or lines or ["nothing"])[-1]
