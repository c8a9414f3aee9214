"""What a device that runs commands can do: run, stream, copy files, read; one implementation per way in.

Commands are argument lists; an implementation quotes them for the remote shell. Paths on a device are
strings, absolute or relative to the folder in which commands start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Done:
    """A command that ended.

    Attributes:
        code: its exit code; 128 + N where signal N ended it.
        stdout: what it wrote.
        stderr: what it wrote there; empty where the way in cannot tell them apart.
    """

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, without the white space at its ends."""
        return self.stdout.decode(errors="replace").strip()

    @property
    def last_line(self) -> str:
        """The last line that says something, of standard error or else of standard output."""
        for stream in (self.stderr, self.stdout):
            text = stream.decode(errors="replace")
            if lines := [line.strip() for line in text.splitlines() if line.strip()]:
                return lines[-1]
        return ""


class Stream(Protocol):
    """A command that still runs, read line by line."""

    def lines(self) -> Iterator[str]:
        """Its standard output; ends when the command does.

        Raises:
            DeviceError: the connection was lost.
        """
        ...

    def stop(self) -> None:
        """End the command and everything it started on the device; harmless where it has ended."""
        ...


class Shell(Protocol):
    """A way to run commands on a device. Close it, or use it as a context manager."""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> Done:
        """Run a command to its end; on Ctrl-C or after ``timeout_s`` it is ended on the device too.

        Raises:
            DeviceError: the connection was lost, or the command took longer than ``timeout_s``.
        """
        ...

    def start(self, command: Sequence[str]) -> Stream:
        """Start a command that is read while it runs.

        Raises:
            DeviceError: the connection was lost.
        """
        ...

    def push(self, source: Path, destination: str) -> None:
        """Copy a file to the device, whole or not at all; folders on the way are made.

        Raises:
            DeviceError: the connection was lost, or the device is full or refuses to write there.
        """
        ...

    def pull(self, source: str, destination: Path) -> None:
        """Copy a file from the device.

        Raises:
            DeviceError: the connection was lost, or there is no such file.
        """
        ...

    def read(self, path: str) -> bytes | None:
        """A small file of the device; None where there is none that can be read.

        Raises:
            DeviceError: the connection was lost.
        """
        ...

    def glob(self, pattern: str) -> list[str]:
        """The paths on the device that a shell pattern stands for, sorted.

        Raises:
            DeviceError: the connection was lost.
        """
        ...

    def close(self) -> None:
        """End the connection and what still runs through it."""
        ...


class HoldingShell(Shell, Protocol):
    """A shell that can keep the standard input of a command open, so that it ends with the connection."""

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        hold_stdin: bool = False,
    ) -> Done:
        """As ``Shell.run``; with ``hold_stdin`` standard input ends only after the command, or if cut off."""
        ...
