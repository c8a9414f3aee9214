"""Progress drawn for people: a bar on a terminal, one line per stage in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
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


class LineProgress:
    """One line when a stage ends, with its steps and seconds: for logs that are no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stages: list[tuple[str, float, int]] = []

    def start(self, label: str, total: int | None) -> None:
        """See :class:`tdedge.progress.Progress`."""
        self._stages.append((label, time.monotonic(), 0))

    def step(self, detail: str) -> None:
        """See :class:`tdedge.progress.Progress`."""
        if self._stages:
            label, since, done = self._stages[-1]
            self._stages[-1] = (label, since, done + 1)

    def finish(self) -> None:
        """See :class:`tdedge.progress.Progress`."""
        if self._stages:
            label, since, done = self._stages.pop()
            seconds = time.monotonic() - since
            self._console.print(f"{label}: {done} steps in {seconds:.1f} s", highlight=False)


def drawn(console: Console, *, quiet: bool) -> Progress | BarProgress:
    """The progress that fits where ``console`` writes to."""
    if quiet:
        return SILENT
    return BarProgress(console) if console.is_terminal else LineProgress(console)
