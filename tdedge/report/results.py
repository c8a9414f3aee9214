"""A result file: what ``tdedge bench`` writes and ``tdedge report`` reads, as tables, Markdown and a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdedge.artifact import atomic_file
from tdedge.errors import UsageError
from tdedge.report import grids, numbers, tables
from tdedge.report.comparison import Comparison
from tdedge.report.grids import Grid

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Results:
    """One result file, or several as one.

    Attributes:
        comparisons: runs on the host itself.
        profiles: label -> times of single operators, of those runs.
        devices: name -> result of a device.
    """

    comparisons: Sequence[Comparison]
    profiles: Mapping[str, Mapping[str, Any]]
    devices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Results:
        """Those of a result file's document."""
        comparisons = [
            Comparison(one["target"], one["result"], one["costs"], one["parities"])
            for one in document["comparisons"]
        ]
        return cls(comparisons, document["profiles"], document.get("devices", {}))

    def grids(self) -> Iterator[Grid]:
        """The tables of all devices."""
        if (all_of_them := grids.overview(self.devices)) is not None:
            yield all_of_them
        for name, device in self.devices.items():
            yield from grids.of_device(name, device)
        if (failed := grids.failures(self.devices)) is not None:
            yield failed

    def tables(self) -> Iterator[RenderableType]:
        """All tables, for a terminal."""
        yield from (tables.comparison(one) for one in self.comparisons)
        yield from (tables.profile(label, one) for label, one in self.profiles.items())
        yield from (grid.table() for grid in self.grids())
        for label, profile in self.device_profiles():
            yield tables.profile(label, profile)

    def device_profiles(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Times of single operators on devices, by device, target and network."""
        for name, device in self.devices.items():
            for target, entry in device["targets"].items():
                for label, profile in entry["profiles"].items():
                    if "ops" in profile:
                        yield f"{name}, {target}: {label}", profile

    def warnings(self) -> Iterator[str]:
        """What a reader of the host's figures must know."""
        for one in self.comparisons:
            if not one.quiet:
                yield (
                    f"{one.target}: other processes used {one.foreign_cpu or 0:.0%} of the CPU; ratios are "
                    "interleaved, but run again on an idle machine before you quote them"
                )

    def markdown(self, title: str) -> str:
        """All tables as Markdown."""
        parts = [f"# {title}\n"]
        parts += [grid.markdown() for grid in (*map(grids.of_comparison, self.comparisons), *self.grids())]
        return "\n".join(parts)


def read(path: Path) -> dict[str, Any]:
    """The document of a result file.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    try:
        check(document)
    except ValueError as error:
        raise UsageError(f"{path} is no result of tdedge bench ({error}); give a file it wrote") from error
    return {"profiles": {}, "devices": {}, **document}


def check(document: Any) -> None:
    """Refuse what lacks the parts that are shown.

    Raises:
        ValueError: it is no result file.
    """
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    if document.get("schema_version") != 1:
        raise ValueError(f"schema_version is {document.get('schema_version')!r}, expected 1")
    try:
        found = Results.of({"profiles": {}, **document})
        for _ in found.tables():
            pass
    except (KeyError, TypeError, AttributeError, IndexError, StopIteration) as error:
        raise ValueError(f"{type(error).__name__} {error}") from error


def merged(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Several result files as one; names that occur in more than one get the file's name behind them.

    Args:
        documents: what to call a file -> its document.
    """
    comparisons: list[dict[str, Any]] = []
    profiles: dict[str, Any] = {}
    devices: dict[str, Any] = {}
    several = len(documents) > 1
    for file, document in documents.items():
        others = [other for name, other in documents.items() if name != file]
        for one in document["comparisons"]:
            comparisons.append({**one, "target": f"{one['target']} ({file})" if several else one["target"]})
        for label, profile in document["profiles"].items():
            profiles[f"{label} ({file})" if several else label] = profile
        for name, device in document["devices"].items():
            twice = any(name in other["devices"] for other in others)
            devices[f"{name} ({file})" if twice else name] = device
    return {"schema_version": 1, "comparisons": comparisons, "profiles": profiles, "devices": devices}


def side_by_side(documents: Mapping[str, Mapping[str, Any]]) -> Grid:
    """Median latency of every network in every file; runs of other times, so no ratios between the files."""
    cells: dict[str, dict[str, str]] = {}
    for file, document in documents.items():
        for place, run in _runs(document):
            for label, model in run["models"].items():
                own = model["latency"]
                text = f"{numbers.milliseconds(own['median_ms'])} ± {own['mad_ms']:.2f}"
                cells.setdefault(f"{place}: {label}", {})[file] = text
    rows = tuple((name, *(found.get(file, "-") for file in documents)) for name, found in cells.items())
    note = "measured at different times, not interleaved: compare only where the device was in the same state"
    return Grid("Median latency side by side", ("network", *documents), rows, (note,))


def _runs(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for one in document["comparisons"]:
        yield one["target"], one["result"]
    for name, device in document["devices"].items():
        for target, entry in device["targets"].items():
            if entry["result"] is not None:
                invalid = "" if entry["valid"] else " (invalid)"
                yield f"{name}, {target}{invalid}", entry["result"]


def write(
    found: Results,
    title: str,
    *,
    page: Path | None = None,
    markdown: Path | None = None,
    node_data: Path | None = None,
    force: bool = False,
) -> None:
    """Write what was asked for, each file whole or not at all.

    Raises:
        UsageError: a file exists, or its place cannot be written.
    """
    if page is not None:
        from tdedge.report.page import results_page

        _write(page, results_page(title, found), force)
    if markdown is not None:
        _write(markdown, found.markdown(title), force)
    if node_data is not None:
        from tdedge.report.node_data import documents

        for name, document in documents(found):
            _write(node_data / name, json.dumps(document, indent=2) + "\n", force)


def _write(path: Path, text: str, force: bool) -> None:
    with atomic_file(path, force=force) as part:
        part.write_text(text, encoding="utf-8")
