"""Where a command writes: people read stderr or a terminal, programs read one JSON document on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tdedge.progress import Progress


class Output:
    """The two streams of one command.

    With ``json`` the document goes to stdout and everything else to stderr; without it tables go to
    stdout and notes and progress to stderr. Names of layers and files are shown as they are, square
    brackets included. ``NO_COLOR`` is honoured by rich.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, no_progress: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.no_progress = no_progress

    @property
    def notes(self) -> Console:
        """Console on stderr."""
        from rich.console import Console

        return Console(stderr=True, markup=False, emoji=False)

    def table(self, renderable: RenderableType) -> None:
        """Print a table or text meant for people."""
        from rich.console import Console

        if not self.quiet:
            console = Console(stderr=self.json, markup=False, emoji=False)
            if not console.is_terminal:
                console.width = max(console.width, 140)
            console.print(renderable)

    def note(self, text: str) -> None:
        """Print one line beside the result."""
        if not self.quiet:
            self.notes.print(text, highlight=False, markup=False, soft_wrap=True)

    def document(self, content: dict[str, Any]) -> None:
        """Print the one JSON document, if it was asked for."""
        if self.json:
            json.dump(content, sys.stdout, indent=2)
            sys.stdout.write("\n")

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress on stderr while the block runs."""
        from tdedge.report.progress import BarProgress, drawn

        progress = drawn(self.notes, quiet=self.quiet or self.no_progress)
        with progress if isinstance(progress, BarProgress) else contextlib.nullcontext():
            yield progress
