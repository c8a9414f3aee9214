"""The HTML page: one file, no script, no network, plots inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from tdedge import __version__
from tdedge.report import device_page, grids, numbers, plots
from tdedge.report.comparison import Comparison
from tdedge.report.results import Results


def page(
    title: str,
    comparisons: Sequence[Comparison],
    *,
    summary: str = "",
    stages: Mapping[str, Mapping[str, float]] | None = None,
    layers: Sequence[tuple[str, float, float]] = (),
    parity: Sequence[Mapping[str, Any]] = (),
    devices: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The page as text.

    Args:
        title: heading of the page.
        comparisons: measured runs; may be empty.
        summary: one paragraph under the heading.
        stages: totals per stage (``params``, ``macs``, ``flops``, ``peak_activation_bytes``).
        layers: (name, MACs before, MACs after) of each decomposed layer.
        parity: one mapping per target (``target``, ``network``, ``max_rel``, ``sqnr_db``, ``passed``).
        devices: name -> result of a device.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_template),
    )
    environment.filters |= {
        "count": numbers.count,
        "mib": numbers.mebibytes,
        "ratio": numbers.ratio,
        "ms": numbers.milliseconds,
        "error": numbers.error,
        "db": numbers.decibel,
    }
    promised = [comparison for comparison in comparisons if comparison.rows()[-1].speedup is not None]
    memory = plots.memory(comparisons)
    return environment.get_template("page.html.j2").render(
        title=title,
        version=__version__,
        summary=summary,
        comparisons=comparisons,
        environment=comparisons[0].result["environment"] if comparisons else None,
        stages=stages or {},
        parity=parity,
        promise_plot=themed(plots.promised_and_measured(promised)) if promised else None,
        latency_plots=[themed(plots.latencies(comparison)) for comparison in comparisons],
        memory_plot=themed(memory) if memory else None,
        layer_plot=themed(plots.layer_macs(layers)) if layers else None,
        devices=device_page.views(devices or {}, themed),
        overview=grids.overview(devices or {}),
    )


def results_page(title: str, found: Results) -> str:
    """The page of a result file."""
    return page(title, found.comparisons, devices=found.devices)


def themed(plot: str) -> Markup:
    """A plot of ours, to be set as it is, in the colours of the page: black is text, white the ground."""
    plot = plot.replace("#000000", "currentColor").replace("fill: #ffffff", "fill: none")
    return Markup(plot)  # noqa: S704 - made by matplotlib, which escapes its texts


def _template(name: str) -> str:
    return resources.files("tdedge.report").joinpath(name).read_text(encoding="utf-8")
