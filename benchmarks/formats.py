"""Every format on a 2-D and a 3-D network: what the arithmetic promises and what each runtime keeps.

Per network, all formats are exported and verified, and then measured in one interleaved run per runtime
against the dense network. Layers are decomposed at a quarter of their channels.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.networks import NETWORKS
from tdedge.plan import make_plan
from tdedge.progress import Progress
from tdedge.report import runs
from tdedge.report.comparison import Comparison
from tdedge_exporters.export import export
from tdedge_exporters.prepare import Source
from tdedge_runtimes.measure import MeasureOptions

FORMATS = ("svd", "spatial_svd", "tucker", "cp", "tt", "ht2", "ntt", "kcp")


def run(options: MeasureOptions, progress: Progress, *, quick: bool) -> list[tuple[str, Comparison]]:
    """Measure every format; with ``quick`` only three of them."""
    chosen = FORMATS[2:5] if quick else FORMATS
    results = []
    for network, (factory, shape, stem) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as scratch:
            folders = [Path(scratch) / "dense"]
            source = Source(factory(), {"": shape})
            export(source, folders[0], input_sets=1, progress=progress)
            for name in chosen:
                folders.append(Path(scratch) / name)
                plan = make_plan(name, ratio=0.25, keep=[stem])
                export(source, folders[-1], plan=plan, input_sets=1, progress=progress)
            for comparison in runs.compare(runs.plan_runs(folders), options, progress=progress):
                results.append((network, comparison))
    return results
