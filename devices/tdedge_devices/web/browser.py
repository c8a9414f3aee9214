"""A browser that is started for the page and ended with it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile

from tdedge.errors import DeviceError, UsageError

_PATIENCE_S = 5.0


class Browser:
    """A running browser; it and all its processes end with ``close``.

    Args:
        command: a command line, without a shell; ``{}`` in it stands for the link, which otherwise is added.
        link: the page's address.

    Raises:
        UsageError: the command line is none.
        DeviceError: it cannot be started.
    """

    def __init__(self, command: str, link: str) -> None:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"the setting browser is {command!r}: {error}") from None
        if not words:
            raise UsageError("the setting browser is empty; give the browser's command line")
        holds = any("{}" in word for word in words)
        words = [word.replace("{}", link) for word in words] + ([] if holds else [link])
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own browser
                words,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise DeviceError(f"cannot start the browser {words[0]!r}: {error.strerror}") from None
        self._name = words[0]

    def check(self) -> None:
        """Raise where the browser has ended by itself with an error.

        Raises:
            DeviceError: so it is; a code of 0 may be a launcher that handed the link to an open window.
        """
        code = self._process.poll()
        if code is not None and code != 0:
            self._log.seek(0)
            lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
            last = f": {lines[-1].strip()}" if lines else ""
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            raise DeviceError(f"the browser {self._name!r} {how}{last}")

    def close(self) -> None:
        """End the browser and everything it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE_S)
                if number == signal.SIGKILL or not _group_lives(self._process.pid):
                    break
        self._log.close()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
