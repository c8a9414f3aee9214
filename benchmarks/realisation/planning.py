"""The two files of a network that one runtime is timed with: as it comes, and planned for that runtime."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import onnx_ir as ir

from benchmarks.realisation.exporting import Exported
from benchmarks.realisation.parts import not_timed, parts_of
from benchmarks.realisation.profiled import profiled
from tdedge.progress import Progress
from tdedge_exporters import lowering
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.checks import PLAIN
from tdedge_exporters.planner.costs import Cost, CostTable
from tdedge_exporters.planner.planner import Planned, plan_target, priced
from tdedge_exporters.planner.pricing import IMPOSSIBLE_MS, local_measure
from tdedge_exporters.planner.roofline import work
from tdedge_runtimes.measure import MeasureOptions

_ABOUT = "about.json"


@dataclass(frozen=True)
class Files:
    """Files of one network for one runtime and number of threads.

    Attributes:
        plain: as peers deploy it; in TensorFlow Lite our lowering of the unplanned network.
        planned: after planning.
        planning_s: seconds that planning took, timing of forms and the final check included.
        again_s: seconds that planning the same network took at once again, from the table.
        trials: small models that were timed for it; those the cost table already knew are not among them.
        forms: form -> how often it was chosen, plain ones left out.
        work: (operations, as many as idle lanes make of them, bytes moved) of every planned node.
        parts: kind of part -> how many, multiply-accumulates, milliseconds by the runtime's profile, or by
            the times of the plan where it tells none.
        first_layer_ms: the first layer in its plain and in its chosen form, as timed for the plan, with what
            the chosen form takes in after it; None where there was no choice.
    """

    plain: Path
    planned: Path
    planning_s: float
    again_s: float
    trials: int
    forms: dict[str, int]
    work: list[tuple[float, float, int]]
    parts: dict[str, tuple[int, int, float]]
    first_layer_ms: tuple[float, float] | None

    @property
    def executed_macs(self) -> int:
        """Multiply-accumulates of the planned graph."""
        return round(sum(flops for flops, _, _ in self.work) / 2)

    def about(self) -> dict[str, Any]:
        """All but the files, as JSON values."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key not in ("plain", "planned")}


def prepare_target(
    exported: Exported, runtime: str, threads: int, effort: str, table: CostTable, progress: Progress
) -> Files:
    """Lower, plan at this effort and lower again; what is there already is taken as it is.

    Raises:
        TdedgeError: the target cannot express the network.
        RuntimesError: a form cannot be timed.
    """
    folder = exported.folder / f"{runtime}-t{threads}-{effort}"
    target = Target(runtime)
    if (known := _load(folder)) is not None:
        return known
    (folder / "planned").mkdir(parents=True, exist_ok=True)
    plain = exported.plain
    if runtime == "tflite":
        (folder / "plain").mkdir(exist_ok=True)
        plain = lowering.lower(ir.load(exported.rewritten), folder / "plain", target).entry
    timed = 0

    def measure(files: Mapping[str, Path], place: Target, options: MeasureOptions) -> Mapping[str, Cost]:
        nonlocal timed
        timed += 0 if PLAIN in files else len(files)
        return local_measure(files, place, options)

    def plan() -> tuple[Planned, float]:
        model, start = ir.load(exported.rewritten), time.monotonic()
        settings = {"effort": effort, "threads": threads, "measure": measure, "progress": progress}
        planned = plan_target(model, target, table, **settings)
        return planned, time.monotonic() - start

    planned, seconds = plan()
    trials = timed
    _, again = plan()
    entry = lowering.lower(planned.model, folder / "planned", target).entry
    is_used = _is_used(planned)
    parts = profiled(entry, runtime, planned.model, threads=threads, lanes=planned.lanes)
    if not parts:
        alone = _alone_ms(planned, target, table, threads, effort, progress)
        parts = parts_of(planned, is_used=is_used, alone_ms=alone)
    files = Files(
        plain,
        entry,
        seconds,
        again,
        trials,
        forms_of(planned),
        [astuple(work(node, planned.lanes)) for node in planned.model.graph],
        dict(parts),
        first_layer_ms(planned, is_used=is_used),
    )
    paths = {"plain": str(plain.resolve()), "planned": str(entry.resolve())}
    (folder / _ABOUT).write_text(json.dumps({**paths, **files.about()}) + "\n", encoding="utf-8")
    return files


def _alone_ms(
    planned: Planned, target: Target, table: CostTable, threads: int, effort: str, progress: Progress
) -> dict[int, float]:
    """Milliseconds of the candidates that the planner had no need to time, as far as the target runs them."""
    left = not_timed(planned)
    opset = planned.model.graph.opset_imports[""]
    pricing, _ = priced(target, table, opset, effort=effort, threads=threads)
    pricing.prepare(left, (), progress)
    times = {id(candidate): pricing.candidate_ms(candidate) for candidate in left}
    return {key: ms for key, ms in times.items() if ms < IMPOSSIBLE_MS}


def _load(folder: Path) -> Files | None:
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if set(about) != {field.name for field in fields(Files)}:
        return None  # of an earlier version
    first = about.pop("first_layer_ms")
    plain, planned = Path(about.pop("plain")), Path(about.pop("planned"))
    return Files(plain, planned, first_layer_ms=None if first is None else tuple(first), **about)


def _is_used(planned: Planned) -> bool:
    """Whether the planned network passed its own check."""
    return bool(planned.checked_ms) and planned.choice is planned.searched


def forms_of(planned: Planned) -> dict[str, int]:
    """Form -> how often it was chosen; ``composed`` are factors that became one; 0: of the whole network."""
    found: Counter[str] = Counter()
    for candidate in planned.choice.chosen:
        name = candidate.form.partition(".")[0]
        factors = sum(unit.kind == "factor" for unit in candidate.units)
        if not candidate.is_plain and name not in ("map", "frames.pool"):
            found["composed" if factors > 1 and name != "packed" else name] += 1
    return {**found, **({f"in {planned.kernels} kernels": 0} if planned.kernels else {})}


def first_layer_ms(planned: Planned, *, is_used: bool) -> tuple[float, float] | None:
    """Milliseconds of the part that reads the network's input, plain and as chosen."""
    prices = {id(candidate): ms for candidate, ms in planned.options}
    first = next((c for c in planned.choice.chosen if any(u.kind == "factor" for u in c.units)), None)
    if first is None or id(first) not in prices:
        return None
    covered = {id(unit) for unit in first.units}
    plain_ms = sum(
        ms for c, ms in planned.options if c.is_plain and len(c.units) == 1 and id(c.units[0]) in covered
    )
    chosen_ms = prices[id(first)] if is_used else plain_ms
    return (plain_ms, chosen_ms) if plain_ms > 0 else None
