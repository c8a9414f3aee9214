"""Accuracy against measured latency, one panel per network, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.ranks.choosing import WAYS
from benchmarks.ranks.points import Point
from benchmarks.svg import svg_text

_COLOURS = {"time": "#1f6fb4", "macs": "#d1495b", "uniform": "#8c8c8c"}
_LABELS = {"time": "by measured time", "macs": "by MACs", "uniform": "uniform"}


def accuracies(studies: Mapping[str, Sequence[Sequence[Point]]]) -> str:
    """Every point of every seed, a line per seed and way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(studies), 3.6), layout="constrained")
    panels = figure.subplots(1, len(studies), squeeze=False)[0]
    for axes, (name, seeds) in zip(panels, studies.items(), strict=True):
        for way in WAYS:
            for number, points in enumerate(seeds):
                own = sorted((p.share, p.accuracy) for p in points if p.way == way)
                if own:
                    shares, values = zip(*own, strict=True)
                    label = _LABELS[way] if number == 0 else None
                    percent = [100 * share for share in shares], [100 * value for value in values]
                    axes.plot(*percent, "o-", color=_COLOURS[way], ms=4, lw=0.9, alpha=0.8, label=label)
        dense = [100 * p.accuracy for points in seeds for p in points if p.way == "dense"]
        axes.axhline(sum(dense) / len(dense), color="black", lw=0.6, ls=":")
        axes.set_title(name, fontsize=10)
        axes.set_xlim(left=0)
        axes.grid(lw=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy, % (dotted: dense)")
    panels[0].legend(frameon=False, fontsize=9)
    figure.supxlabel("% of the dense network's measured latency, both planned", fontsize=9)
    return svg_text(figure)
