"""This process: settings that must be made before NumPy and the runtimes are loaded, and when it ends."""

from __future__ import annotations

import os
import shutil
import sys
import threading

from tdedge_runtimes.errors import RuntimeInputError

#: Environment variables that fix the threads of the libraries under NumPy and the runtimes.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Exit code of a process that ended because whoever started it is gone: 128 + SIGHUP.
ABANDONED = 129


def limit_threads(threads: int) -> None:
    """Ask the libraries that are loaded from now on to use this many threads."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)


def pin(cpus: list[int]) -> None:
    """Pin this process to the given cores; an empty list leaves the choice to the system.

    Raises:
        RuntimeInputError: The system cannot pin, or the process may not use these cores.
    """
    if not cpus:
        return
    if sys.platform != "linux":
        raise RuntimeInputError("this system cannot pin a process to cores; leave out the option cpus")
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, TypeError, ValueError, OverflowError):
        allowed = sorted(os.sched_getaffinity(0))
        raise RuntimeInputError(f"cannot pin to cores {cpus}; this process may use {allowed}") from None


def read_line(descriptor: int = 0) -> bytes:
    """What comes before the first line break, or the end; what comes after it in the same moment is lost."""
    text = b""
    while b"\n" not in text:
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            break
        text += chunk
    return text.partition(b"\n")[0]


def end_at_eof(scratch: str | None = None, *, descriptor: int = 0) -> None:
    """End this process, from a thread, as soon as its input does; the folder ``scratch`` is removed first.

    That is how a job dies with the connection it came through. The thread reads the descriptor itself: a
    Python stream would hold a lock that the interpreter wants when it ends. The exit is at once, because a
    runtime's native code may not return for minutes.
    """

    def wait() -> None:
        try:
            while os.read(descriptor, 1 << 16):
                pass
        except OSError:
            pass
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        os._exit(ABANDONED)

    threading.Thread(target=wait, name="end-at-eof", daemon=True).start()
