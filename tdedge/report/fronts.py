"""The plot of choices that no other beats: what they cost against what they lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tdedge.report.plots import OTHER, figure_with_axes, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHOSEN = "#d1495b"


def front_figure(points: Sequence[tuple[float, float]], chosen: tuple[float, float], target: str) -> Figure:
    """Share of the dense cost on the horizontal axis, loss on the vertical one.

    Args:
        points: (share, loss) of every choice, cheapest first.
        chosen: of the network that was made.
        target: named on the horizontal axis.
    """
    figure, axes = figure_with_axes(5.6, 3.6)
    shares, losses = zip(*points, strict=True)
    axes.plot([100 * share for share in shares], losses, "o-", color=OTHER, ms=4, lw=1, label="best choices")
    axes.plot(100 * chosen[0], chosen[1], "D", color=_CHOSEN, ms=7, label="chosen")
    axes.set_xlabel(f"% of the dense network's cost ({target})")
    axes.set_ylabel("sum of the layers' losses")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(lw=0.3)
    legend(figure)
    made: Figure = figure
    return made
