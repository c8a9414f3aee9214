"""THETIS Net2, dense against Tucker at the published ranks: 5.99x fewer MACs, and what is left of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tdedge.networks import thetis
from tdedge.progress import Progress
from tdedge.report import runs
from tdedge.report.comparison import Comparison
from tdedge_exporters.export import export
from tdedge_exporters.prepare import Source
from tdedge_runtimes.measure import MeasureOptions


def run(options: MeasureOptions, progress: Progress, *, quick: bool) -> list[tuple[str, Comparison]]:
    """Measure the network in every runtime; ``quick`` makes no difference."""
    source = Source(thetis.dense().eval(), {"": thetis.INPUT_SHAPE})
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / name for name in ("dense", "tucker")]
        for folder, plan in zip(folders, (None, thetis.PLAN), strict=True):
            export(source, folder, plan=plan, input_sets=1, progress=progress)
        return [("THETIS Net2", c) for c in runs.compare(runs.plan_runs(folders), options, progress=progress)]
