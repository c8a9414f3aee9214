"""Accuracy against measured latency, one panel per network, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.ranks.choosing import WAYS
from benchmarks.ranks.points import Point
from benchmarks.svg import svg_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"time": "#1f6fb4", "macs": "#d1495b", "uniform": "#8c8c8c"}
_LABELS = {"time": "by measured time", "macs": "by MACs", "uniform": "uniform"}


def accuracies(studies: Mapping[str, Sequence[Sequence[Point]]], stages: Mapping[str, str]) -> str:
    """Every point of every seed, a line per seed and way; one row of panels per stage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(studies), 3.2 * len(stages)), layout="constrained")
    rows = figure.subplots(len(stages), len(studies), squeeze=False, sharex="col")
    for panels, (stage, words) in zip(rows, stages.items(), strict=True):
        for axes, (name, seeds) in zip(panels, studies.items(), strict=True):
            _panel(axes, seeds, stage)
            axes.set_title(f"{name}, {words}", fontsize=10)
    rows[0][0].legend(frameon=False, fontsize=9)
    figure.supylabel("accuracy, % (dotted: dense)", fontsize=9)
    figure.supxlabel("% of the dense network's measured latency, both planned", fontsize=9)
    return svg_text(figure)


def _panel(axes: Axes, seeds: Sequence[Sequence[Point]], stage: str) -> None:
    for way in WAYS:
        for number, points in enumerate(seeds):
            own = sorted((p.share, getattr(p, stage)) for p in points if p.way == way)
            if own:
                shares, values = ([100 * value for value in column] for column in zip(*own, strict=True))
                label = _LABELS[way] if number == 0 else None
                axes.plot(shares, values, "o-", color=_COLOURS[way], ms=4, lw=0.9, alpha=0.8, label=label)
    dense = [100 * p.accuracy for points in seeds for p in points if p.way == "dense"]
    axes.axhline(sum(dense) / len(dense), color="black", lw=0.6, ls=":")
    axes.set_xlim(left=0)
    axes.grid(lw=0.3)
    axes.spines[["top", "right"]].set_visible(False)
