"""Plan one network for one target: price every form, choose, write, check against the network as it came."""

from __future__ import annotations

import contextlib
import platform
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from tdedge.errors import UnsupportedError
from tdedge.progress import SILENT, Progress, track
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.candidates import Candidate, Scope, candidates, plain
from tdedge_exporters.planner.checks import (
    LEAST_SAVING,
    Check,
    checker,
    decided,
    predictor,
    remembered,
    saving,
)
from tdedge_exporters.planner.costs import Cost, CostTable, Place
from tdedge_exporters.planner.efforts import Settings, settings
from tdedge_exporters.planner.layouts import NATIVE, Label
from tdedge_exporters.planner.pricing import Measure, Pricing, local_measure
from tdedge_exporters.planner.rebuild import rebuild
from tdedge_exporters.planner.remote import Remote, channel_lanes
from tdedge_exporters.planner.roofline import Roofline
from tdedge_exporters.planner.screening import forms_screened, networks_screened
from tdedge_exporters.planner.search import Choice, search
from tdedge_exporters.planner.units import Network, network
from tdedge_runtimes.environment import describe_environment, simd_lanes
from tdedge_runtimes.session import PACKAGES


@dataclass(frozen=True)
class Planned:
    """A network in the forms a target executes fastest.

    Attributes:
        model: the network to lower.
        choice: what was chosen; all plain where nothing was faster.
        options: every candidate that was priced, with its milliseconds.
        checked_ms: latency of the plain and of the planned network, interleaved; empty where there was no
            planned one, or the target cannot run it.
        searched: what the costs of the parts alone chose, whatever the check said.
        conversions: what ``searched`` stores otherwise on the way, with its milliseconds.
        is_predicted: whether times come from a roofline model, where the table had none; those of whole
            networks then always do.
        lanes: SIMD lanes that were planned for.
    """

    model: ir.Model
    choice: Choice
    options: tuple[tuple[Candidate, float], ...]
    checked_ms: dict[str, Cost]
    searched: Choice
    conversions: tuple[tuple[ir.Value, Label, Label, float], ...]
    is_predicted: bool = False
    lanes: int = 16


def plan(
    model: ir.Model,
    pricing: Pricing,
    scope: Scope,
    check: Check,
    progress: Progress = SILENT,
) -> Planned:
    """Choose the fastest forms for ``model``; where the plan is not faster the result is ``model`` itself."""
    net = network(model, integers=pricing.target.calibrated)
    offered = candidates(net, scope)
    free = _without_choice(offered)
    priced = [candidate for candidate in offered if id(candidate) not in free]
    pricing.prepare(priced, possible_conversions(net, offered), progress)
    costs = [0.0 if id(each) in free else pricing.candidate_ms(each) for each in offered]
    best = search(net, offered, costs, pricing.conversion_ms)
    first = Choice(tuple(plain(unit) for unit in net.units), 0.0)
    options = tuple(zip(offered, costs, strict=True))
    about = (bool(pricing.predicted), scope.lanes)
    if all(candidate.is_plain for candidate in best.chosen):
        return Planned(model, best, options, {}, best, (), *about)
    made = tuple((*each, pricing.conversion_ms(*each)) for each in conversions(net, best.chosen))
    planned = rebuild(net, best.chosen)
    timed: dict[str, Cost] = {}
    with contextlib.suppress(UnsupportedError):  # of the target, which then gets the network as it came
        for _ in track([("", None)], progress, "Time the whole network", 1):
            timed = check({"plain": model, "planned": planned})
    if timed and saving(timed) > LEAST_SAVING:
        return Planned(planned, best, options, timed, best, made, *about)
    return Planned(model, first, options, timed, best, made, *about)


def conversions(net: Network, chosen: Sequence[Candidate]) -> list[tuple[ir.Value, Label, Label]]:
    """What ``chosen`` stores otherwise on the way, each (value, from, to) once."""
    given = {value: each.gives for each in chosen for value in each.outputs}
    wanted = [(value, each.reads) for each in chosen for value in each.inputs]
    wanted += [(value, NATIVE) for value in net.model.graph.outputs]
    pairs = dict.fromkeys((value, given.get(value, NATIVE), label) for value, label in wanted)
    return [pair for pair in pairs if pair[1] != pair[2]]


def _without_choice(offered: Sequence[Candidate]) -> set[int]:
    """Candidates that are alone in covering their unit."""
    cover: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in offered:
        for unit in candidate.units:
            cover[unit.index].append(candidate)
    return {id(each[0]) for each in cover.values() if len(each) == 1}


def possible_conversions(
    net: Network, offered: Sequence[Candidate]
) -> Iterator[tuple[ir.Value, Label, Label]]:
    """Every pair of labels that some value could be given and wanted in."""
    gives: dict[ir.Value, set[Label]] = {value: {NATIVE} for value in net.model.graph.inputs}
    wants: dict[ir.Value, set[Label]] = {value: {NATIVE} for value in net.model.graph.outputs}
    for candidate in offered:
        for value in candidate.outputs:
            gives.setdefault(value, set()).add(candidate.gives)
        for value in candidate.inputs:
            wants.setdefault(value, set()).add(candidate.reads)
    for value, given in gives.items():
        for source in sorted(given):
            for target in sorted(wants.get(value, ())):
                if source != target and source.zeros == target.zeros:
                    yield value, source, target


def plan_target(
    model: ir.Model,
    target: Target,
    table: CostTable,
    *,
    effort: str = "normal",
    threads: int = 1,
    measure: Measure = local_measure,
    remote: Remote | None = None,
    roofline: Roofline | None = None,
    progress: Progress = SILENT,
) -> Planned:
    """Plan ``model`` for ``target`` on the machine that ``measure`` times on.

    Args:
        model: after the exact rewrites of the export.
        target: what it will be lowered to.
        table: known times; new ones are kept there.
        effort: one of :data:`tdedge_exporters.planner.efforts.EFFORTS`, but not ``none``.
        threads: of one inference.
        measure: times files, see :data:`tdedge_exporters.planner.pricing.Measure`.
        remote: the device that times, in the place of ``measure``.
        roofline: predicts what the table lacks; with it nothing is timed.
        progress: told about every batch of trials.

    Raises:
        UsageError: unknown effort.
        RuntimesError: a measurement failed.
        MissingError: ``remote`` has no such runtime.
    """
    pricing, chosen = priced(
        target,
        table,
        model.graph.opset_imports[""],
        effort=effort,
        threads=threads,
        measure=measure,
        remote=remote,
        roofline=roofline,
    )
    whole = measure if remote is None else remote.measure
    if target.calibrated and remote is None:
        whole = networks_screened(whole)
    check = remembered(decided(checker(target, whole, chosen.check)), table, pricing.place)
    if roofline is not None:
        check = predictor(roofline)
    return plan(model, pricing, chosen.scope, check, progress)


def priced(
    target: Target,
    table: CostTable,
    opset: int,
    *,
    effort: str = "normal",
    threads: int = 1,
    measure: Measure = local_measure,
    remote: Remote | None = None,
    roofline: Roofline | None = None,
) -> tuple[Pricing, Settings]:
    """The prices of forms on a target, and what is tried there; arguments as :func:`plan_target`.

    Raises:
        UsageError: unknown effort.
        MissingError: ``remote`` has no such runtime.
    """
    lanes = channel_lanes(target, platform.machine(), simd_lanes()) if roofline is None else roofline.lanes
    place = here(target, threads)
    if remote is not None:
        lanes, place, measure = remote.lanes(target), remote.place(target, threads), remote.measure
    chosen = settings(effort, target, threads=threads, lanes=lanes)
    if target.calibrated and remote is None:
        measure = forms_screened(measure)
    if remote is not None:
        chosen = remote.settings(chosen)
    return Pricing(table, place, target, measure, chosen.trial, opset, roofline), chosen


def here(target: Target, threads: int) -> Place:
    """This machine, this runtime."""
    described = describe_environment()
    cores = described["affinity"]
    machine = f"{described['cpu_model']}, {len(cores) if isinstance(cores, list) else cores} cores"
    versions = described["versions"]
    package = PACKAGES[target.runtime][0]
    version = str(versions.get(package))
    return Place(target.runtime, version, target.precision, threads, machine)
