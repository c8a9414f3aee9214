"""A figure as SVG text that can lie in a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdedge.report.plots import svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def svg_text(figure: Figure) -> str:
    """The figure, no blank at the end of a line, one trailing newline."""
    return "\n".join(line.rstrip() for line in svg(figure).splitlines()) + "\n"
