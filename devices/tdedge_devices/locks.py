"""One user of a device at a time: a lock file per address, held by the kernel until the process ends.

The lock is ``flock`` on a file in the user's state folder; it is gone with its process, however that ended.
The file says who holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from tdedge.errors import DeviceError


def state_folder() -> Path:
    """Where the locks lie."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return folder / "tdedge" / "locks"


def lock_file(url: str) -> Path:
    """The lock of the device at an address; the same whoever logs in there."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    place = f"{parts.scheme}:{host}{parts.path}"
    words = re.sub(r"[^A-Za-z0-9.-]+", "-", place).strip("-")[:60]
    return state_folder() / f"{words}-{hashlib.sha256(place.encode()).hexdigest()[:8]}.lock"


@contextlib.contextmanager
def hold(url: str, name: str) -> Iterator[None]:
    """Keep a device to this process while the block runs.

    Args:
        url: the address of the device.
        name: what messages call it.

    Raises:
        DeviceError: another process has it; the message says which and since when.
    """
    path = lock_file(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise DeviceError(f"cannot lock device {name}: {path}: {error.strerror}") from error
    with stream:
        if not _take(stream):
            raise DeviceError(f"device {name} is in use by {_holder(stream)}; try again when that has ended")
        stream.seek(0)
        stream.truncate()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"process": os.getpid(), "since": since}, stream)
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)


def _take(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(stream: IO[str]) -> str:
    stream.seek(0)
    try:
        said = json.loads(stream.read())
        return f"process {said['process']} since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
