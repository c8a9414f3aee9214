"""One plot: what every row realises, plain and planned, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.realisation.cases import RUNTIMES
from benchmarks.realisation.rows import Row
from benchmarks.svg import svg_text

_PLAIN, _PLANNED = "#8c8c8c", "#1f6fb4"


def realisations(rows: Sequence[Row]) -> str:
    """Realisation against the plain dense export, one panel per runtime; grey plain, blue planned."""
    from matplotlib.figure import Figure

    done = [row for row in rows if not row.error]
    runtimes = [runtime for runtime in RUNTIMES if any(row.runtime == runtime for row in done)]
    names = list(dict.fromkeys(row.case.name for row in done))
    width = 2.4 + 3.0 * max(len(runtimes), 1)
    figure = Figure(figsize=(width, 1.2 + 0.2 * len(names)), layout="constrained")
    panels = figure.subplots(1, max(len(runtimes), 1), sharey=True, squeeze=False)[0]
    for runtime, axes in zip(runtimes, panels, strict=False):
        mine = [row for row in done if row.runtime == runtime]
        for label, colour in (("plain", _PLAIN), ("planned", _PLANNED)):
            figures = [
                (value, names.index(row.case.name))
                for row in mine
                if (value := row.realisation if label == "planned" else row.realisation_of_plain) is not None
            ]
            axes.plot(*zip(*figures, strict=True), "o", color=colour, ms=5, label=label) if figures else None
        axes.axvline(1, color="black", lw=0.6)
        axes.set_xlim(left=0)
        axes.set_title(runtime, fontsize=10)
        axes.grid(axis="y", lw=0.3)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    if runtimes:
        panels[0].set_yticks(range(len(names)), names, parse_math=False)
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
        figure.supxlabel("measured speed-up over plain dense / MAC ratio", fontsize=9)
    return svg_text(figure)
