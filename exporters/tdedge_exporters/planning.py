"""The planner's place in an export: one plan per target, measured here or replayed from another export."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from tdedge.errors import UsageError
from tdedge.progress import SILENT, Progress
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner import costs, plan
from tdedge_exporters.planner.efforts import EFFORTS, settings
from tdedge_exporters.planner.plan import TargetPlan
from tdedge_exporters.planner.planner import here, plan_target
from tdedge_exporters.planner.pricing import Measure, local_measure
from tdedge_exporters.planner.remote import Remote
from tdedge_exporters.planner.units import refusal
from tdedge_runtimes.errors import RuntimesError
from tdedge_runtimes.measure import MeasureOptions

#: A network in the forms that a target executes, and the plan; no plan where none was asked for.
Way = tuple[ir.Model, TargetPlan | None]

#: Begin of the reason of a plan whose measuring failed.
FAILED = "not planned, measuring failed"


@dataclass(frozen=True)
class Planning:
    """How the targets of an export are planned.

    Attributes:
        effort: one of :data:`tdedge_exporters.planner.efforts.EFFORTS`; ``none`` measures nothing.
        threads: of one inference.
        cost_table: file of known times; the user's own where not given.
        forms: target -> plan to apply again; these targets are not measured.
        measure: times files.
        remote: the device that is planned for; it times in the place of ``measure``.

    Raises:
        UsageError: unknown effort, threads below 1, or a device and nothing to measure there.
    """

    effort: str = "none"
    threads: int = 1
    cost_table: Path | None = None
    forms: Mapping[str, TargetPlan] = field(default_factory=dict)
    measure: Measure = local_measure
    remote: Remote | None = None

    def __post_init__(self) -> None:
        if self.effort not in EFFORTS:
            raise UsageError(f"unknown effort {self.effort!r}; expected one of {', '.join(EFFORTS)}")
        if self.threads < 1:
            raise UsageError(f"threads is {self.threads}; expected at least 1")
        if self.remote is not None and self.effort == "none":
            raise UsageError(f"effort none measures nothing on {self.remote.name}; choose low, normal or max")

    def measures(self, target: Target) -> bool:
        """Whether a target is timed, and not only executed as an earlier plan says."""
        return self.effort != "none" and str(target) not in self.forms

    def whole(self, target: Target) -> tuple[Measure, MeasureOptions]:
        """What times whole networks, and how."""
        how = settings(self.effort, target, threads=self.threads)
        if self.remote is None:
            return self.measure, how.check
        return self.remote.measure, self.remote.settings(how).check

    def known_times(self) -> AbstractContextManager[costs.CostTable]:
        """The table of known times."""
        return costs.open_table(self.cost_table) if self.cost_table else costs.users_table()


def plan_network(model: ir.Model, target: Target, planning: Planning, progress: Progress = SILENT) -> Way:
    """The network to lower for ``target``: the first of :func:`ways`, which raises the same."""
    return ways(model, target, planning, progress)[0]


def ways(model: ir.Model, target: Target, planning: Planning, progress: Progress = SILENT) -> tuple[Way, ...]:
    """How ``target`` executes a network: the fastest way that was found, then others that are near.

    Where a measurement fails the network stays as it came, and the plan says why.

    Raises:
        UsageError: a plan to replay was made for another network, or the cost table cannot be used.
        MissingError: the device lacks the runtime.
        DeviceError: it was lost.
    """
    if (known := planning.forms.get(str(target))) is not None:
        return ((plan.replay(model, known), known.model_copy(update={"replayed": True})),)
    if planning.effort == "none":
        return ((model, None),)
    remote = planning.remote
    place = here(target, planning.threads) if remote is None else remote.place(target, planning.threads)
    device = remote.name if remote else ""
    if (reason := refusal(model)) is not None:
        return ((model, plan.unplanned(target, place, planning.effort, f"not planned: {reason}", device)),)
    with planning.known_times() as table:
        try:
            planned = plan_target(
                model,
                target,
                table,
                effort=planning.effort,
                threads=planning.threads,
                measure=planning.measure,
                remote=remote,
                progress=progress,
            )
        except RuntimesError as error:
            reason = f"{FAILED}: {error.message}"
            return ((model, plan.unplanned(target, place, planning.effort, reason, device)),)
    return tuple(
        (one.model, plan.of(one, target, place, planning.effort, remote))
        for one in (planned, *planned.runners_up)
    )
