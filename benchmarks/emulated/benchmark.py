"""THETIS Net2 on an emulated Cortex-A72: dense, decomposed as it comes, and planned for that processor.

    python -m tdedge_devices.arm64_image        # once
    python -m benchmarks emulated

Everything is counted on the emulated machine: the forms the planner chooses from and the networks that are
compared. A first run takes half an hour or more; what was counted is kept in the planner's cost table, so
that an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from benchmarks.outcome import Outcome
from benchmarks.realisation.measuring import parity
from benchmarks.realisation.planning import forms_of
from tdedge.cost import network_cost
from tdedge.networks import thetis
from tdedge.plan import CompressionPlan
from tdedge.progress import Progress
from tdedge_devices.address import connect
from tdedge_exporters import lowering
from tdedge_exporters.export import rewrite
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.checks import checker, remembered
from tdedge_exporters.planner.costs import CostTable, users_table
from tdedge_exporters.planner.efforts import settings
from tdedge_exporters.planner.planner import plan_target
from tdedge_exporters.planner.remote import Remote
from tdedge_exporters.prepare import Source, prepare
from tdedge_runtimes.measure import MeasureOptions

DEVICE = "emulated:cortex-a72"
#: Twelve trials of this network are loaded at a time.
_MEMORY_MB = "9000"
_EFFORT = "low"
_JOB_S = 7200.0

#: Runtime -> how many times fewer instructions than dense the planned network must take.
GATES = {"tflite": 8.5, "onnxruntime": 6.0}

ABOUT = (
    "Instruction time: milliseconds of a clock that advances 1 ns per instruction of an emulated Cortex-A72 "
    "(qemu -icount), one thread. No caches, no pipeline: it ranks forms of one network on one processor and "
    "is no latency. `plain` is the decomposed network as it comes, `planned` what the planner made of it "
    "with this processor as its target; both ratios are to the dense network in its own export. `parity` is "
    "the largest difference of planned to plain outputs relative to their scale, on this machine."
)


@dataclass(frozen=True)
class Row:
    """One runtime; times in milliseconds of instruction time.

    Attributes:
        runtime: its name.
        dense_ms: the dense network.
        plain_ms: the decomposed one as it comes.
        planned_ms: the decomposed one, planned.
        mac_ratio: multiply-accumulates of dense over decomposed.
        parity: largest difference of planned to plain, relative to the scale.
        forms: form -> how often the plan has it; plain ones left out.
    """

    runtime: str
    dense_ms: float
    plain_ms: float
    planned_ms: float
    mac_ratio: float
    parity: float
    forms: dict[str, int]

    @property
    def plain_ratio(self) -> float:
        """Dense over plain."""
        return self.dense_ms / self.plain_ms

    @property
    def planned_ratio(self) -> float:
        """Dense over planned."""
        return self.dense_ms / self.planned_ms


def run(options: MeasureOptions, progress: Progress, *, quick: bool) -> Outcome:
    """Count the network in both runtimes; ``quick``: in LiteRT alone. ``options`` give the threads."""
    del options  # one core, and one call tells all
    dense, decomposed = (_network(plan) for plan in (None, thetis.PLAN))
    rows = []
    with connect(DEVICE, {"memory_mb": _MEMORY_MB}) as device, users_table() as table:
        environment = device.environment()
        remote = Remote(device.url, environment, _with_time(device.do), "emulated")
        for runtime in ("tflite",) if quick else GATES:
            rows.append(_row(Target(runtime), dense, decomposed, remote, table, progress))
    document = {
        "schema_version": 1,
        "device": DEVICE,
        "kind": "emulated",
        "rows": [asdict(row) for row in rows],
    }
    return Outcome(environment, ABOUT, markdown(rows), document, failures(rows))


def _with_time(do: Callable[..., dict[str, Any]]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    return lambda job: do(job, timeout_s=_JOB_S)


def _network(plan: CompressionPlan | None) -> ir.Model:
    """The network as an export hands it to the planner."""
    return rewrite(prepare(Source(thetis.dense().eval(), {"": thetis.INPUT_SHAPE}), plan).model)[0]


def _row(
    target: Target,
    dense: ir.Model,
    decomposed: ir.Model,
    remote: Remote,
    table: CostTable,
    progress: Progress,
) -> Row:
    planned = plan_target(decomposed, target, table, effort=_EFFORT, remote=remote, progress=progress)
    options = remote.settings(settings(_EFFORT, target)).check
    count = remembered(checker(target, remote.measure, options), table, remote.place(target, 1))
    counted = planned.checked_ms or count({"plain": decomposed, "planned": planned.model})
    plain_ms, planned_ms = (counted[name].median_ms for name in ("plain", "planned"))
    with tempfile.TemporaryDirectory() as scratch:
        files = []
        for name, model in (("plain", decomposed), ("planned", planned.model)):
            (Path(scratch) / name).mkdir()
            files.append(lowering.lower(model, Path(scratch) / name, target).entry)
        error = parity(target.runtime, *files)
    return Row(
        runtime=target.runtime,
        dense_ms=count({"dense": dense})["dense"].median_ms,
        plain_ms=plain_ms,
        planned_ms=min(plain_ms, planned_ms),
        mac_ratio=network_cost(dense).macs / network_cost(decomposed).macs,
        parity=error,
        forms=forms_of(planned),
    )


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| runtime | dense ms | plain ms | planned ms | MACs | plain | planned | required | parity | forms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        forms = ", ".join(f"{count} {name}" for name, count in sorted(row.forms.items()))
        times = " | ".join(f"{value:.1f}" for value in (row.dense_ms, row.plain_ms, row.planned_ms))
        ratios = " | ".join(f"{value:.2f}x" for value in (row.mac_ratio, row.plain_ratio, row.planned_ratio))
        gate = f"{GATES[row.runtime]:.1f}x"
        lines.append(f"| {row.runtime} | {times} | {ratios} | {gate} | {row.parity:.1e} | {forms} |")
    return "\n".join(lines) + "\n"


def failures(rows: Sequence[Row]) -> tuple[str, ...]:
    """The runtimes in which the planned network takes too many instructions."""
    return tuple(
        f"{row.runtime}: planned takes {row.planned_ratio:.2f}x fewer instructions than dense; "
        f"required {GATES[row.runtime]}x"
        for row in rows
        if row.planned_ratio < GATES[row.runtime]
    )
