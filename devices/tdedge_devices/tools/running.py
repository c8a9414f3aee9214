"""One run of a program on a device, with what the system tells of it: processor time, and memory if asked.

A shell script there runs the program, both its streams on standard output. On standard error it writes the
first line of /proc/stat before and after, the processor time of the program (``times``), and, for memory, the
lines of /proc/PID/status and /proc/PID/smaps_rollup again and again while the program runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tdedge.errors import DeviceError
from tdedge_devices.shell import Shell
from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.foreign_cpu import CpuTimes, parse_stat

# $1: watch or not, $2: pause between two looks at the memory, then the command.
_SCRIPT = """watch=$1 pause=$2
shift 2
head -n 1 /proc/stat >&2 2>/dev/null
if [ "$watch" = watch ]; then
  "$@" 2>&1 &
  pid=$!
  while kill -0 $pid 2>/dev/null; do
    grep -hE '^(VmHWM|RssAnon|Pss):' /proc/$pid/status /proc/$pid/smaps_rollup >&2 2>/dev/null
    sleep $pause
  done
  wait $pid
else
  "$@" 2>&1
fi
code=$?
head -n 1 /proc/stat >&2 2>/dev/null
times >&2
exit $code
"""
_PAUSE_S = 0.05
_MEMORY = re.compile(r"^(VmHWM|RssAnon|Pss):\s*(\d+) kB$", re.MULTILINE)
_TIMES = re.compile(r"(\d+)m\s*([\d.]+)s?\s+(\d+)m\s*([\d.]+)s?")
_SIGNALS = {
    4: "an instruction this processor has not",
    9: "SIGKILL; it may have run out of memory",
    11: "a crash",
}


@dataclass(frozen=True)
class ToolRun:
    """What a program said, and what the system said of it.

    Attributes:
        text: both its streams.
        cpu: processor times before and after; the second with the program's own seconds.
        memory_bytes: largest VmHWM, last RssAnon and Pss that were seen; empty where not asked for.
    """

    text: str
    cpu: tuple[CpuTimes, CpuTimes]
    memory_bytes: dict[str, int] = field(default_factory=dict)


def run_tool(
    shell: Shell, command: Sequence[str], *, cpus: Sequence[int] = (), watch: bool = False, end_s: float
) -> ToolRun:
    """Run a program to its end.

    Args:
        shell: the way to the device.
        command: the program's path and its arguments.
        cpus: cores it is pinned to; empty leaves the choice to the system.
        watch: whether to look at its memory while it runs.
        end_s: when it has to be done, on the clock ``time.monotonic``.

    Raises:
        RuntimeFailed: it failed, or was not done in time.
        DeviceError: the connection was lost.
    """
    name = command[0].rpartition("/")[2]
    pinned = ["taskset", f"{sum(1 << cpu for cpu in cpus):x}"] if cpus else []
    words = ["sh", "-c", _SCRIPT, "sh", "watch" if watch else "-", str(_PAUSE_S), *pinned, *command]
    left_s = max(0.1, end_s - time.monotonic())
    try:
        done = shell.run(words, timeout_s=left_s)
    except DeviceError as error:
        if time.monotonic() < end_s:
            raise
        raise RuntimeFailed(f"{name} was not done in time and was ended: {error}") from None
    text = done.stdout.decode(errors="replace")
    if done.code:
        raise RuntimeFailed(f"{name} {_death(done.code)}: {last_words(text)}")
    said = done.stderr.decode(errors="replace")
    return ToolRun(text, _cpu(said), _memory(said))


def last_words(text: str, *, least: int = 1) -> str:
    """The last line of a text that says something; one with "error" or "fail" in it where there is one."""
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) >= least]
    telling = [line for line in lines if re.search(r"error|fail|cannot|unknown", line, re.IGNORECASE)]
    return (telling or lines or ["it said nothing"])[-1]


def _death(code: int) -> str:
    if code <= 128:
        return f"ended with code {code}"
    signal = code - 128
    return f"was ended by signal {signal} ({_SIGNALS.get(signal, 'see kill -l')})"


def _cpu(said: str) -> tuple[CpuTimes, CpuTimes]:
    lines = [line for line in said.splitlines() if line.startswith("cpu ")]
    # The last two pairs are those of `times`: the shell's own, then its children's: the program.
    pairs = _TIMES.findall(said)
    own_s = sum(60 * int(pairs[-1][at]) + float(pairs[-1][at + 1]) for at in (0, 2)) if pairs else 0.0
    try:
        (busy, total), (busy_after, total_after) = (parse_stat(line) for line in lines)
    except ValueError:
        silent = CpuTimes(0, 0, 0.0, "this device has no readable /proc/stat")
        return silent, silent
    if not pairs:
        silent = CpuTimes(0, 0, 0.0, "the shell of this device tells no processor time")
        return silent, silent
    return CpuTimes(busy, total, 0.0), CpuTimes(busy_after, total_after, own_s)


def _memory(said: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, kilobytes in _MEMORY.findall(said):
        number = int(kilobytes) * 1024
        found[name] = max(number, found.get(name, 0)) if name == "VmHWM" else number
    return found
