"""The Pareto front of a search: what no other trial beats in both figures, and its files.

A trial is on the front if none is as fast and more accurate, or faster and as accurate. A folder holds::

    01.toml, 02.toml, ...   compression plans, the fastest first
    front.json              figures of the plans, and of every other trial
    front.svg               both, as a picture
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tdedge.artifact import atomic_folder
from tdedge.errors import UsageError
from tdedge.searching.result import SearchResult, Tried

FRONT, PLOT = "front.json", "front.svg"


def non_dominated(tried: Sequence[Tried]) -> list[Tried]:
    """The front, the fastest first; of trials that are equal in both figures the earliest alone."""
    kept: list[Tried] = []
    for each in sorted(tried, key=lambda trial: (trial.latency_ms, -trial.accuracy, trial.number)):
        if not kept or each.accuracy > kept[-1].accuracy:
            kept.append(each)
    return kept


def check_front(folder: Path, *, force: bool) -> None:
    """Refuse, before any work is done, a folder that must not be replaced.

    Raises:
        UsageError: it exists and ``force`` is not given, or it holds something else than a front.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} exists and is no folder; choose another --output")
    if not (folder / FRONT).is_file():
        raise UsageError(f"{folder} holds no front (no {FRONT}); it is not replaced, remove it by hand")
    if not force:
        raise UsageError(f"{folder} exists; pass --force to replace it")


def write_front(folder: Path, result: SearchResult, *, kind: str, force: bool = False) -> dict[str, Any]:
    """Write a search's front into a folder of its own, all of it or nothing.

    Args:
        folder: which.
        result: of the search.
        kind: of the latencies: ``measured`` or ``emulated``.
        force: replace an earlier front.

    Returns:
        What ``front.json`` holds.

    Raises:
        UsageError: see :func:`check_front`.
    """
    front = non_dominated(result.tried)
    content = document(result, front, kind)
    with _replaced(folder, force=force) as part:
        for number, each in enumerate(front, 1):
            each.plan.save(part / file_name(number))
        text = json.dumps(content, indent=2) + "\n"
        (part / FRONT).write_text(text, encoding="utf-8", newline="\n")
        (part / PLOT).write_text(plot(result.tried, front), encoding="utf-8", newline="\n")
    return content


def document(result: SearchResult, front: Sequence[Tried], kind: str) -> dict[str, Any]:
    """The search as JSON: the front, and everything that was tried."""
    files = {each.number: file_name(number) for number, each in enumerate(front, 1)}
    return {
        "schema_version": 1,
        "study": result.study_name,
        "made_for": dict(result.made_for),
        "latency_kind": kind,
        "front": [{"file": files[each.number], **_row(each)} for each in front],
        "tried": [_row(each) for each in result.tried],
        "failed": {str(number): reason for number, reason in result.failed.items()},
    }


def file_name(number: int) -> str:
    """Name of the plan at this place of the front, from 1."""
    return f"{number:02d}.toml"


def plot(tried: Sequence[Tried], front: Sequence[Tried]) -> str:
    """Every trial and the front through them, as SVG."""
    from tdedge.report.plots import OTHER, PROMISE, REFERENCE, figure_with_axes, legend, svg

    figure, axes = figure_with_axes(7.2, 4.2)
    rest = [each for each in tried if each not in front]
    axes.plot(*_figures(rest), "o", ms=4, color=REFERENCE, alpha=0.6, mew=0, label="tried")
    axes.plot(*_figures(front), "o-", ms=6, lw=1.2, color=OTHER, label="not beaten in both")
    dense = [each for each in tried if not each.plan.layers][:1]
    axes.plot(*_figures(dense), "D", ms=7, mfc="none", color=PROMISE, label="dense")
    for number, each in enumerate(front, 1):
        axes.annotate(
            file_name(number).removesuffix(".toml"),
            (each.latency_ms, each.accuracy),
            (4, -10),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel("latency of one inference, ms")
    axes.set_ylabel("accuracy")
    axes.set_xlim(left=0)
    legend(figure)
    return svg(figure)


def _figures(tried: Sequence[Tried]) -> tuple[list[float], list[float]]:
    return [each.latency_ms for each in tried], [each.accuracy for each in tried]


def _row(each: Tried) -> Mapping[str, Any]:
    return {
        "trial": each.number,
        "accuracy": each.accuracy,
        "latency_ms": each.latency_ms,
        "params": each.params,
        "macs": each.macs,
        "repeats": each.repeats,
        "plan": each.plan.model_dump(mode="json", exclude_none=True),
    }


@contextmanager
def _replaced(folder: Path, *, force: bool) -> Iterator[Path]:
    """A folder to fill that takes the place of ``folder`` when the block ends well."""
    check_front(folder, force=force)
    if not (folder / FRONT).exists():
        with atomic_folder(folder) as part:
            yield part
        return
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.absolute().parent) as scratch:
        made, before = Path(scratch) / "made", Path(scratch) / "before"
        made.mkdir()
        yield made
        folder.rename(before)
        try:
            made.rename(folder)
        except BaseException:
            before.rename(folder)
            raise
