"""What the machine can do: its matrix product, and how far apart its cores are at the moment.

On a virtual machine two threads may share a cache or not, and which of the two can change within seconds;
a stream through memory tells: two cores that share one path to memory reach less together than two that
have one each. One thread does not notice.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

#: Stream of all threads over that of one: below it the cores are near each other, above it far apart.
#: Between what the host of the published results shows (near 1.1 to 1.4, far 1.7 to 2.5).
NEAR_BELOW = 1.55

_SIZE = 1536
_STREAM_BYTES = 64 * 2**20
_REPEATS = 12


def sgemm_gflops(threads: int) -> float:
    """The best of several float32 matrix products, in 1e9 floating-point operations per second."""
    with _threads(threads):
        a, b = torch.ones(_SIZE, _SIZE), torch.ones(_SIZE, _SIZE)
        out = torch.empty(_SIZE, _SIZE)
        seconds = _timed(lambda: torch.mm(a, b, out=out), 2 * _REPEATS)
    return 2 * _SIZE**3 / min(seconds) / 1e9


def stream_gbs(threads: int) -> float:
    """Median of ``c = a + s b`` over arrays no cache holds: 1e9 bytes read and written per second."""
    count = _STREAM_BYTES // 4
    with _threads(threads):
        a, b, c = torch.ones(count), torch.ones(count), torch.empty(count)
        seconds = _timed(lambda: torch.add(a, b, alpha=2.0, out=c), _REPEATS)
    return 3 * _STREAM_BYTES / statistics.median(seconds) / 1e9


def stream_scaling(threads: int) -> tuple[float, float]:
    """(1e9 bytes per second of one thread, of all)."""
    return stream_gbs(1), stream_gbs(threads)


def mode_of(streams_gbs: Sequence[tuple[float, float]]) -> str:
    """``near``, ``far``, or ``mixed`` where the streams around a run disagree; empty without any."""
    modes = {"near" if every / one < NEAR_BELOW else "far" for one, every in streams_gbs}
    return modes.pop() if len(modes) == 1 else "mixed" if modes else ""


def available_memory_bytes() -> int | None:
    """What could be allocated now; None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:  # noqa: PTH123 - not a file of anyone's
            fields = dict(line.split(":", 1) for line in stream)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _timed(call: Callable[[], object], repeats: int) -> list[float]:
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds
