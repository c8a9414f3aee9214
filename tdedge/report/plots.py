"""The plots of the HTML page, as SVG text: one function per plot.

Colours carry one meaning everywhere: grey is the reference network, blue the other, light blue what lies
between.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from tdedge.report.comparison import Comparison

REFERENCE = "#8c8c8c"
OTHER = "#1f6fb4"
BETWEEN = "#9cc3e4"
PROMISE = "#d9a441"


def promised_and_measured(comparisons: Sequence[Comparison]) -> str:
    """Per target: the MAC ratio the arithmetic promises beside the speed-ups the clock shows."""
    most = max(len(comparison.rows()) for comparison in comparisons)
    figure, axes = figure_with_axes(7.2, 0.9 + 0.38 * most * len(comparisons))
    height = 0.8 / most
    for index, comparison in enumerate(comparisons):
        rows = comparison.rows()[1:]
        promised = rows[-1].mac_ratio
        top = index - height * len(rows) / 2
        if promised is not None:
            name = "promised by MACs" if index == 0 else None
            axes.barh(top, promised, 0.9 * height, color=PROMISE, label=name)
            beside(axes, promised, top, f"{promised:.2f}x")
        for place, row in enumerate(rows, 1):
            if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
                continue
            y = top + place * height
            name = f"measured: {row.label}" if len(rows) > 1 else "measured"
            colour = OTHER if place == len(rows) else BETWEEN
            axes.barh(y, row.speedup, 0.9 * height, color=colour, label=name if index == 0 else None)
            beside(axes, max(row.speedup, row.speedup_high), y, f"{row.speedup:.2f}x")
            spread = [[row.speedup - row.speedup_low], [row.speedup_high - row.speedup]]
            axes.errorbar(row.speedup, y, xerr=spread, color="black", lw=1, capsize=2)
    axes.set_yticks(
        range(len(comparisons)), [comparison.target for comparison in comparisons], parse_math=False
    )
    axes.axvline(1, color="black", lw=0.6)
    axes.set_xlabel("times faster than the reference (95 % interval)")
    axes.margins(x=0.15)
    axes.invert_yaxis()
    legend(figure)
    return svg(figure)


def latencies(comparison: Comparison) -> str:
    """Every timed call of every network, with the median."""
    labels = list(comparison.result["models"])
    figure, axes = figure_with_axes(7.2, 0.9 + 0.45 * len(labels))
    for index, label in enumerate(labels):
        samples = comparison.samples_ms(label)
        colour = REFERENCE if index == 0 else OTHER
        spread = [index + 0.22 * ((7 * i) % 11 - 5) / 5 for i in range(len(samples))]
        axes.plot(samples, spread, "o", ms=3, alpha=0.5, color=colour, mew=0)
        median = comparison.result["models"][label]["latency"]["median_ms"]
        axes.plot([median, median], [index - 0.36, index + 0.36], color="black", lw=1.2)
        axes.text(median, index - 0.42, f"{median:.1f} ms", ha="center", va="bottom", fontsize=9)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.75)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"latency of one inference, ms ({comparison.target}, {comparison.threads} thread)")
    return svg(figure)


def memory(comparisons: Sequence[Comparison]) -> str | None:
    """Own peak memory of every network per target; None where none was measured."""
    bars = [
        (f"{comparison.target}: {row.label}", row.own_memory_bytes, REFERENCE if i == 0 else OTHER)
        for comparison in comparisons
        for i, row in enumerate(comparison.rows())
        if row.own_memory_bytes is not None
    ]
    if not bars:
        return None
    figure, axes = figure_with_axes(7.2, 0.8 + 0.32 * len(bars))
    for index, (_, value, colour) in enumerate(bars):
        axes.barh(index, value / 2**20, 0.7, color=colour)
        beside(axes, value / 2**20, index, f"{value / 2**20:.1f}")
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars], parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("peak memory of the network itself, MiB (runtime's own share subtracted)")
    return svg(figure)


def layer_macs(rows: Sequence[tuple[str, float, float]]) -> str:
    """MACs of each layer before and after, on a logarithmic axis; ``rows``: (name, before, after)."""
    figure, axes = figure_with_axes(7.2, 0.9 + 0.5 * len(rows))
    for index, (_, before, after) in enumerate(rows):
        axes.barh(index - 0.2, before, 0.36, color=REFERENCE, label="dense" if index == 0 else None)
        axes.barh(index + 0.2, after, 0.36, color=OTHER, label="compressed" if index == 0 else None)
        beside(axes, max(before, after), index, f"{before / after:.1f}x")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], parse_math=False)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("MACs per inference")
    legend(figure)
    return svg(figure)


def figure_with_axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure with one pair of axes, drawn without any display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    return figure, axes


def beside(axes: Any, x: float, y: float, text: str) -> None:
    """A label to the right of a bar's end."""
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=9)


def legend(figure: Any) -> None:
    """The legend above the plot, where it covers nothing."""
    drawn = figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    for text in drawn.get_texts():  # names of files, not formulas
        text.set_parse_math(False)


def svg(figure: Any) -> str:
    """The figure as an ``<svg>`` element without a prologue, the same for the same data."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "tdedge", "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
