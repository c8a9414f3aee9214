"""The HTML page: one file, no script, no network, plots inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tdedge import __version__
from tdedge.report import numbers, plots
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
) -> str:
    """The page as text.

    Args:
        title: heading of the page.
        comparisons: measured runs; may be empty.
        summary: one paragraph under the heading.
        stages: totals per stage (``params``, ``macs``, ``flops``, ``peak_activation_bytes``).
        layers: (name, MACs before, MACs after) of each decomposed layer.
        parity: one mapping per target (``target``, ``network``, ``max_rel``, ``sqnr_db``, ``passed``).
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "count": numbers.count,
        "mib": numbers.mebibytes,
        "ratio": numbers.ratio,
        "ms": numbers.milliseconds,
        "error": numbers.error,
        "db": numbers.decibel,
    }
    template = resources.files("tdedge.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    promised = [comparison for comparison in comparisons if comparison.rows()[-1].speedup is not None]
    memory = plots.memory(comparisons)
    return environment.from_string(template).render(
        title=title,
        version=__version__,
        summary=summary,
        comparisons=comparisons,
        environment=comparisons[0].result["environment"] if comparisons else None,
        stages=stages or {},
        parity=parity,
        promise_plot=Markup(plots.promised_and_measured(promised)) if promised else None,  # noqa: S704
        latency_plots=[Markup(plots.latencies(comparison)) for comparison in comparisons],  # noqa: S704
        memory_plot=Markup(memory) if memory else None,  # noqa: S704
        layer_plot=Markup(plots.layer_macs(layers)) if layers else None,  # noqa: S704
    )


def results_page(title: str, found: Results) -> str:
    """The page of a result file."""
    return page(title, found.comparisons)
