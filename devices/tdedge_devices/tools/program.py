"""What a benchmark program of a runtime does for one model: timed calls, memory, operators, a load."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tdedge_devices.shell import Shell
from tdedge_devices.tools.running import ToolRun, last_words, run_tool
from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.foreign_cpu import CpuTimes
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.operator_times import OpTime

_MARK = "@uptime"
_UPTIME = re.compile(rf"^{_MARK} ([\d.]+)", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """Where a program and a model lie on a device.

    Attributes:
        shell: the way there.
        program: the program's path there.
        scratch: a folder there for what a run writes.
        end_s: when the job has to be done, on the clock ``time.monotonic``.
    """

    shell: Shell
    program: str
    scratch: str
    end_s: float


@dataclass(frozen=True)
class Block:
    """Timed calls of one process.

    Attributes:
        samples_ms: one time each.
        calls_per_sample: calls a sample is the mean of.
        load_ms: time to load the model.
        first_ms: the very first inference; None where it is not told.
        cpu: processor times before and after.
        memory_bytes: see ``ToolRun``.
    """

    samples_ms: tuple[float, ...]
    load_ms: float
    first_ms: float | None
    cpu: tuple[CpuTimes, CpuTimes]
    calls_per_sample: int = 1
    memory_bytes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """Inference without a pause.

    Attributes:
        begin_s: when it began, on the device's ``/proc/uptime``.
        end_s: when it ended.
        inferences: calls in between.
        rows_ms: samples, in rows.
        method: what these are.
        first_ms: the very first inference; None where it is not told.
        load_ms: time to load the model.
        cpu: processor times before and after.
    """

    begin_s: float
    end_s: float
    inferences: int
    rows_ms: list[list[float]]
    method: str
    first_ms: float | None
    load_ms: float
    cpu: tuple[CpuTimes, CpuTimes]


@dataclass(frozen=True)
class Profile:
    """The time of every operator.

    Attributes:
        ops: in the order of execution.
        method: what these times are.
        runs: profiled runs.
        load_ms: time to load the model.
    """

    ops: list[OpTime]
    method: str
    runs: int
    load_ms: float


class Program(Protocol):
    """A benchmark program of one runtime."""

    name: str
    runtime: str
    suffixes: tuple[str, ...]
    method: str

    def block(self, place: Place, model: str, options: MeasureOptions) -> Block:
        """One process with the timed calls of a block, after its warm-up."""
        ...

    def memory(self, place: Place, model: str, options: MeasureOptions, calls: int) -> Block:
        """One process whose memory is watched."""
        ...

    def profile(self, place: Place, model: str, options: MeasureOptions, runs: int) -> Profile:
        """The time of every operator."""
        ...

    def load(self, place: Place, model: str, options: MeasureOptions, seconds: float, least: int) -> Load:
        """Inference for a while."""
        ...


def run_program(
    place: Place, command: Sequence[str], options: MeasureOptions, *, watch: bool = False
) -> ToolRun:
    """One run of it; see ``run_tool``."""
    return run_tool(place.shell, command, cpus=options.cpus, watch=watch, end_s=place.end_s)


def then_uptime(command: Sequence[str]) -> list[str]:
    """The command, after which the device tells its ``/proc/uptime``."""
    return ["sh", "-c", f'"$@" || exit; echo; echo "{_MARK} $(cat /proc/uptime)"', "sh", *command]


def uptime(text: str) -> float:
    """What it told.

    Raises:
        RuntimeFailed: nothing.
    """
    if not (found := _UPTIME.findall(text)):
        raise RuntimeFailed(f"the device tells no time since it was started: {last_words(text)}")
    return float(found[-1])
