"""What a terminal shows of a table."""

import io

from rich.console import Console


def shown(renderable) -> list[str]:
    """Lines of text, frames removed and columns joined by single blanks."""
    stream = io.StringIO()
    Console(file=stream, width=200, markup=False).print(renderable)
    return [" ".join(line.replace("│", " ").split()) for line in stream.getvalue().splitlines()]
