"""Settings of this process that must be made before NumPy and the runtimes are loaded."""

from __future__ import annotations

import os
import sys

from tdedge_runtimes.errors import RuntimeInputError

#: Environment variables that fix the threads of the libraries under NumPy and the runtimes.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
