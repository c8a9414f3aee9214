"""Progress drawn for people: a bar on a terminal, one line per stage in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from tdedge.progress import SILENT, Progress


class BarProgress:
    """A bar per stage on a terminal; use as a context manager around the whole command."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=console,
            transient=True,
        )
        self._tasks: list[TaskID] = []

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def start(self, label: str, total: int | None) -> None:
        """See :class:`tdedge.progress.Progress`."""
        self._tasks.append(self._bars.add_task(label, total=total, detail=""))

    def step(self, detail: str) -> None:
        """See :class:`tdedge.progress.Progress`."""
        if self._tasks:
            self._bars.update(self._tasks[-1], advance=1, detail=detail[:40])

    def finish(self) -> None:
        """See :class:`tdedge.progress.Progress`."""
        if self._tasks:
            self._bars.remove_task(self._tasks.pop())


@dataclass
class _Stage:
    label: str
    total: int | None
    since: float
    said: float
    done: int = 0


class LineProgress:
    """One line when a stage ends, with its steps and seconds: for logs that are no terminal.

    A long stage also says now and then how much time is left, from its first step on.

    Args:
        console: where the lines go.
        clock: seconds.
    """

    #: Seconds between two lines of one stage.
    EVERY_S = 15.0

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._stages: list[_Stage] = []

    def start(self, label: str, total: int | None) -> None:
        """See :class:`tdedge.progress.Progress`."""
        now = self._clock()
        self._stages.append(_Stage(label, total, now, now))

    def step(self, detail: str) -> None:
        """See :class:`tdedge.progress.Progress`."""
        if not self._stages:
            return
        stage, now = self._stages[-1], self._clock()
        stage.done += 1
        if stage.total is not None and stage.done < stage.total and now - stage.said >= self.EVERY_S:
            stage.said = now
            left = (now - stage.since) / stage.done * (stage.total - stage.done)
            self._print(f"{stage.label}: {stage.done} of {stage.total}, about {left:.0f} s left")

    def finish(self) -> None:
        """See :class:`tdedge.progress.Progress`."""
        if self._stages:
            stage = self._stages.pop()
            self._print(f"{stage.label}: {stage.done} steps in {self._clock() - stage.since:.1f} s")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False)


def drawn(console: Console, *, quiet: bool) -> Progress | BarProgress:
    """The progress that fits where ``console`` writes to."""
    if quiet:
        return SILENT
    return BarProgress(console) if console.is_terminal else LineProgress(console)
