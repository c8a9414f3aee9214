"""What a benchmark hands back: tables for people, figures for programs, and the gates it failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The result of one benchmark.

    Attributes:
        environment: where it ran, as ``tdedge_runtimes`` describes it.
        about: how to read the tables, in sentences.
        tables: the result as Markdown.
        document: the same with every sample, as JSON values.
        failures: the gates that failed, one line each; empty where all passed or there are none.
        plots: SVG text by what is added to the name of the result.
        rows: what :class:`benchmarks.realisation.store.Store` reads again; empty where there are no rows.
    """

    environment: Mapping[str, Any]
    about: str
    tables: str
    document: Mapping[str, Any]
    failures: tuple[str, ...] = ()
    plots: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()
