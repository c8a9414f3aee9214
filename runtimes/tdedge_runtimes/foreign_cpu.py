"""How busy other processes kept the machine while something was measured.

Share = (CPU time of the whole system - CPU time of this process) / (length of the window x cores). The
system's time is that of /proc/stat (user, nice, system, irq, softirq and stolen time, in clock ticks of
usually 10 ms, which limits how short a window can be); guest time is already inside user time.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from tdedge_runtimes.figures import Figure, measured, not_measurable

_STAT = Path("/proc/stat")
_UNIT = "share of all cores"
_BUSY = (0, 1, 2, 5, 6, 7)  # user nice system irq softirq steal; 3 and 4 are idle and iowait
_FIELDS = 8
_SHORTEST_TICKS = 20


@dataclass(frozen=True)
class CpuTimes:
    """CPU time since boot, summed over all cores.

    Attributes:
        busy_ticks: Ticks in which a core worked.
        total_ticks: All ticks; grows by cores x ticks per second.
        own_seconds: CPU time of this process, all threads, in seconds.
        reason: Why the ticks are not known, or empty.
    """

    busy_ticks: int
    total_ticks: int
    own_seconds: float
    reason: str = ""


def parse_stat(text: str) -> tuple[int, int]:
    """Busy and total ticks of the first line of a /proc/stat text.

    Raises:
        ValueError: The text does not begin with a ``cpu`` line of at least eight numbers.
    """
    words = text.partition("\n")[0].split()
    if len(words) <= _FIELDS or words[0] != "cpu":
        raise ValueError("no 'cpu' line with eight fields")
    ticks = [int(word) for word in words[1 : 1 + _FIELDS]]
    return sum(ticks[index] for index in _BUSY), sum(ticks)


def read_cpu_times(stat: Path = _STAT) -> CpuTimes:
    """The CPU times now; ``reason`` is set where the system does not tell them."""
    own = time.process_time()
    try:
        busy, total = parse_stat(stat.read_text())
    except OSError:
        return CpuTimes(0, 0, own, "this system has no readable /proc/stat")
    except ValueError as error:
        return CpuTimes(0, 0, own, f"/proc/stat cannot be read: {error}")
    return CpuTimes(busy, total, own)


def foreign_share(before: CpuTimes, after: CpuTimes, *, ticks_per_second: int | None = None) -> Figure:
    """The share (0 to 1) of all cores that other processes used between two readings.

    Args:
        before: Reading at the start of the window.
        after: Reading at its end.
        ticks_per_second: Clock ticks per second; the system's where not given.
    """
    if reason := before.reason or after.reason:
        return not_measurable(_UNIT, reason)
    total = after.total_ticks - before.total_ticks
    if total < _SHORTEST_TICKS:
        return not_measurable(_UNIT, f"the window is {total} clock ticks long; it takes {_SHORTEST_TICKS}")
    rate = ticks_per_second if ticks_per_second is not None else os.sysconf("SC_CLK_TCK")
    own = (after.own_seconds - before.own_seconds) * rate
    busy = after.busy_ticks - before.busy_ticks
    return measured(min(1.0, max(0.0, (busy - own) / total)), _UNIT)
