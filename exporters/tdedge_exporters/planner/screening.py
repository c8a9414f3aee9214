"""What takes long is timed a few times only.

Integer kernels are very uneven: a form that a runtime has no good kernel for takes a hundred times as long
as the best one. Every file is called a few times first; only what is short enough, or a whole network that
is not decided by that already, is then timed in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.costs import Cost
from tdedge_exporters.planner.pricing import Measure
from tdedge_runtimes.measure import MeasureOptions

#: A form that takes longer is not timed in full.
LONG_MS = 100.0
#: One network that takes this many times as long as another is slower, however few calls say so.
CLEAR = 3.0


def few_calls(options: MeasureOptions) -> MeasureOptions:
    """The least that gives a median: two calls after the first inference."""
    return replace(
        options, warmup_calls=0, warmup_seconds=0.0, untimed_calls=0, per_block=1, min_blocks=2, max_blocks=2
    )


def forms_screened(measure: Measure) -> Measure:
    """``measure`` for many forms: long ones are called a few times."""

    def time(files: Mapping[str, Path], target: Target, options: MeasureOptions) -> Mapping[str, Cost]:
        rough = measure(files, target, few_calls(options))
        short = {label: path for label, path in files.items() if rough[label].median_ms <= LONG_MS}
        return {**rough, **(measure(short, target, options) if short else {})}

    return time


def networks_screened(measure: Measure) -> Measure:
    """``measure`` for whole networks: in full those between which a few calls do not decide."""

    def time(files: Mapping[str, Path], target: Target, options: MeasureOptions) -> Mapping[str, Cost]:
        rough = measure(files, target, few_calls(options))
        least = min(cost.median_ms for cost in rough.values())
        close = {label: path for label, path in files.items() if rough[label].median_ms <= CLEAR * least}
        return {**rough, **measure(close, target, options)} if len(close) > 1 else rough

    return time
