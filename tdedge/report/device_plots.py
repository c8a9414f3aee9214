"""The plots about devices, as SVG text: one function per plot, in the colours of ``tdedge.report.plots``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tdedge.report import numbers
from tdedge.report.comparison import Comparison
from tdedge.report.plots import BETWEEN, OTHER, PROMISE, REFERENCE, beside, figure_with_axes, legend, svg

_COLOURS = (REFERENCE, OTHER, PROMISE, BETWEEN, "#7a4fa3", "#3f8f5f")


def distributions(run: Comparison) -> str | None:
    """The share of inferences that were no slower, for every network; None where no samples are kept."""
    figure, axes = figure_with_axes(7.2, 2.9)
    slowest: list[float] = []
    for index, label in enumerate(run.result["models"]):
        samples = np.sort(np.asarray(run.samples_ms(label)))
        if not samples.size:
            continue
        colour = _COLOURS[index % len(_COLOURS)]
        shares = np.arange(1, samples.size + 1) / samples.size
        axes.step(samples, 100 * shares, where="post", color=colour, label=label, lw=1.8)
        for percent in (50, 90, 99):
            value = float(np.percentile(samples, percent))
            axes.plot(value, percent, "o", ms=4, color=colour)
        median = float(np.median(samples))
        axes.annotate(
            numbers.milliseconds(median),
            (median, 50),
            (7, -3 - 11 * index),
            textcoords="offset points",
            fontsize=9,
            va="top",
        )
        slowest.append(float(np.percentile(samples, 99)))
    if not slowest:
        return None
    longest = max(sample for label in run.result["models"] for sample in run.samples_ms(label))
    if longest > 1.5 * max(slowest):  # a few outliers would press everything else into a corner
        axes.set_xlim(right=1.5 * max(slowest))
        axes.set_title(f"slowest: {numbers.milliseconds(longest)}", fontsize=9, loc="right")
    axes.set_ylim(0, 102)
    axes.set_ylabel("inferences, %", fontsize=9)
    axes.set_xlabel("latency of one inference, ms; dots are the median, 90 % and 99 %")
    legend(figure)
    return svg(figure)


def sustained(curves: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Latency against time without a pause, the temperature below; None where there is no curve."""
    known = {label: curve for label, curve in curves.items() if curve["points"]}
    if not known:
        return None
    warm = {
        label: [(one["end_s"], one["celsius"]) for one in curve["stretches"] if one["celsius"] is not None]
        for label, curve in known.items()
    }
    figure, axes = figure_with_axes(7.2, 2.9)
    longest = max(curve["points"][-1]["at_s"] for curve in known.values())
    scale, unit = (60.0, "min") if longest > 180 else (1.0, "s")
    below = axes.twinx() if any(warm.values()) else None
    for index, (label, curve) in enumerate(known.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        at = [point["at_s"] / scale for point in curve["points"]]
        axes.plot(at, [point["median_ms"] for point in curve["points"]], color=colour, lw=1.6, label=label)
        high = [point["p90_ms"] for point in curve["points"]]
        axes.fill_between(at, [p["median_ms"] for p in curve["points"]], high, color=colour, alpha=0.2, lw=0)
        for begin_s, end_s in _throttled(curve["stretches"]):
            axes.axvspan(begin_s / scale, end_s / scale, color=PROMISE, alpha=0.15, lw=0)
        if below is not None and warm[label]:
            below.plot(*zip(*((end / scale, c) for end, c in warm[label]), strict=True), ":", color=colour)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"time without a pause, {unit}")
    axes.set_ylabel("latency, ms (band: to 90 %)", fontsize=9)
    if below is not None:
        below.set_ylabel("temperature, °C (dotted)", fontsize=9)
        below.spines[["top"]].set_visible(False)
        below.tick_params(labelsize=9)
    legend(figure)
    return svg(figure)


def _throttled(stretches: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Times in which the device was slowed down; stretches that follow each other are one."""
    found: list[tuple[float, float]] = []
    for before, one in zip((None, *stretches), stretches, strict=False):
        if not one["throttled"]:
            continue
        if before is not None and before["throttled"]:
            found[-1] = (found[-1][0], one["end_s"])
        else:
            found.append((one["begin_s"], one["end_s"]))
    return found


def energies(found: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Gross and net joules of one inference; None where none was measured."""
    bars = [
        (label, figures, colour)
        for (label, figures), colour in zip(found.items(), _COLOURS * len(found), strict=False)
        if figures["gross_j_per_inference"]["value"] is not None
    ]
    if not bars:
        return None
    figure, axes = figure_with_axes(7.2, 0.9 + 0.6 * len(bars))
    for index, (_, figures, colour) in enumerate(bars):
        for offset, word, alpha in ((-0.18, "gross", 0.55), (0.18, "net", 1.0)):
            joules = figures[f"{word}_j_per_inference"]["value"]
            if joules is None:  # net energy that is lost in what idling varied by
                continue
            value = joules * 1e3
            axes.barh(index + offset, value, 0.32, color=colour, alpha=alpha)
            spread = figures.get("spread", {}).get(f"{word}_j_per_inference")
            if spread:
                ends = [[max(0.0, value - 1e3 * spread["low"])], [max(0.0, 1e3 * spread["high"] - value)]]
                axes.errorbar(value, index + offset, xerr=ends, color="black", lw=1, capsize=2)
            text = f"{word} {numbers.joules(value / 1e3)}"
            beside(axes, 1e3 * spread["high"] if spread else value, index + offset, text)
    axes.set_yticks(range(len(bars)), [label for label, _, _ in bars], parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel("energy of one inference, mJ (range of the windows)")
    return svg(figure)
