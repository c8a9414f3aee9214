"""How long work reports its progress: one small protocol and the silent default.

A stage takes ``progress: Progress = SILENT`` and calls it; what is drawn (a bar on a terminal, lines in
a log, nothing in a library) is the caller's choice. See ``tdedge.report.progress`` for the drawn ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """What a stage may say about its progress."""

    def start(self, label: str, total: int | None) -> None:
        """A stage called ``label`` begins; ``total`` steps are ahead, or None where unknown."""

    def step(self, detail: str) -> None:
        """One step ends; ``detail`` says which (a layer name, a pass, a target)."""

    def finish(self) -> None:
        """The stage ends, also when it failed."""


class SilentProgress:
    """Says nothing."""

    def start(self, label: str, total: int | None) -> None:
        """See :class:`Progress`."""

    def step(self, detail: str) -> None:
        """See :class:`Progress`."""

    def finish(self) -> None:
        """See :class:`Progress`."""


SILENT: Progress = SilentProgress()


def track(items: Iterable[tuple[str, T]], progress: Progress, label: str, total: int | None) -> Iterator[T]:
    """Yield the second of each ``(name, item)`` and report a step as each is done."""
    progress.start(label, total)
    try:
        for name, item in items:
            yield item
            progress.step(name)
    finally:
        progress.finish()
