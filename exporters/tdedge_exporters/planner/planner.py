"""Plan one network for one target: price every form, choose, write, check against the network as it came."""

from __future__ import annotations

import contextlib
import platform
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from tdedge.errors import UnsupportedError
from tdedge.progress import SILENT, Progress, track
from tdedge_exporters.kernels import BLOCKED, has_blocked, kernels_of, suits_blocked, with_kernels
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.candidates import Candidate, Scope, candidates, plain
from tdedge_exporters.planner.checks import (
    IN_BLOCKED,
    LENT,
    OTHERS,
    PLAIN,
    PLANNED,
    Check,
    checker,
    decided,
    kept,
    predictor,
    remembered,
    runners_up,
)
from tdedge_exporters.planner.contenders import contenders, near_plans
from tdedge_exporters.planner.costs import Cost, CostTable, Place
from tdedge_exporters.planner.efforts import Settings, settings
from tdedge_exporters.planner.layouts import NATIVE, Label
from tdedge_exporters.planner.lent import lent
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
        checked_ms: latency of the network as it came, as ``plain``, and in the forms that were found,
            interleaved (see :mod:`tdedge_exporters.planner.checks`); empty where there were no others, or
            the target cannot run them.
        searched: what was found, whatever the check said.
        conversions: what ``searched`` stores otherwise on the way, with its milliseconds.
        is_predicted: whether times come from a roofline model, where the table had none; those of whole
            networks then always do.
        lanes: SIMD lanes that were planned for.
        kept: the label in ``checked_ms`` of the network that is kept.
        runners_up: the other networks that take little longer, as if each of them were kept.
    """

    model: ir.Model
    choice: Choice
    options: tuple[tuple[Candidate, float], ...]
    checked_ms: dict[str, Cost]
    searched: Choice
    conversions: tuple[tuple[ir.Value, Label, Label, float], ...]
    is_predicted: bool = False
    lanes: int = 16
    kept: str = PLAIN
    runners_up: tuple[Planned, ...] = ()

    @property
    def is_costlier(self) -> bool:
        """Whether ``searched`` are other forms than the cheapest by their costs, and faster as a whole."""
        return self.kept in (LENT, *OTHERS)

    @property
    def kernels(self) -> str:
        """The family of kernels that ``model`` asks for; empty for none."""
        return kernels_of(self.model)


def plan(
    model: ir.Model,
    pricing: Pricing,
    scope: Scope,
    check: Check,
    progress: Progress = SILENT,
    floats: Choice | None = None,
    *,
    blocked: bool = False,
) -> Planned:
    """Choose the fastest forms for ``model``; where none are faster the result is ``model`` itself.

    ``floats``, on integers: what the runtime executes in float32, which is then tried too. ``blocked``: try
    blocked kernels where they suit; forms are searched by the times of the others.
    """
    net = network(model, integers=pricing.target.calibrated)
    offered = candidates(net, scope)
    free = without_choice(offered)
    priced = [candidate for candidate in offered if id(candidate) not in free]
    pricing.prepare(priced, possible_conversions(net, offered), progress)

    def cheapest() -> tuple[list[float], Choice]:
        costs = [0.0 if id(each) in free else pricing.candidate_ms(each) for each in offered]
        return costs, search(net, offered, costs, pricing.conversion_ms)

    costs, best = cheapest()
    while pricing.confirms and pricing.confirm(contenders(offered, costs, best), progress):
        costs, best = cheapest()
    first = Choice(tuple(plain(unit) for unit in net.units), 0.0)
    choices = {PLAIN: first, PLANNED: best}
    if floats is not None:
        if (other := lent(net, offered, costs, pricing.conversion_ms, best, floats)) is not None:
            choices[LENT] = other
    elif pricing.confirms:
        near = near_plans(net, offered, costs, pricing.conversion_ms, best)
        choices |= dict(zip(OTHERS, near, strict=False))
    models = {PLAIN: model}
    for label, choice in choices.items():
        if not all(candidate.is_plain for candidate in choice.chosen):
            models[label] = rebuild(net, choice.chosen)
    if blocked:
        for label, blocked_label in IN_BLOCKED.items():
            is_native = _is_native(choices[label])
            if label in models and suits_blocked(models[label], pricing.target, is_native=is_native):
                models[blocked_label] = with_kernels(models[label], BLOCKED)
    timed: dict[str, Cost] = {}
    if len(models) > 1:
        with contextlib.suppress(UnsupportedError):  # of the target, which then gets the network as it came
            for _ in track([("", None)], progress, "Time the whole network", 1):
                timed = check(models)

    def planned(label: str) -> Planned:
        searched = choices[label if label in (LENT, *OTHERS) else PLANNED]
        as_it_came = PLANNED in models and label in (PLAIN, IN_BLOCKED[PLAIN])
        return Planned(
            model=models[label],
            choice=first if as_it_came else searched,
            options=tuple(zip(offered, costs, strict=True)),
            checked_ms=timed,
            searched=searched,
            conversions=tuple((*e, pricing.conversion_ms(*e)) for e in conversions(net, searched.chosen)),
            is_predicted=bool(pricing.predicted),
            lanes=scope.lanes,
            kept=label,
        )

    return replace(planned(kept(timed)), runners_up=tuple(planned(label) for label in runners_up(timed)))


def _is_native(choice: Choice) -> bool:
    return all(candidate.reads == candidate.gives == NATIVE for candidate in choice.chosen)


def conversions(net: Network, chosen: Sequence[Candidate]) -> list[tuple[ir.Value, Label, Label]]:
    """What ``chosen`` stores otherwise on the way, each (value, from, to) once."""
    given = {value: each.gives for each in chosen for value in each.outputs}
    wanted = [(value, each.reads) for each in chosen for value in each.inputs]
    wanted += [(value, NATIVE) for value in net.model.graph.outputs]
    pairs = dict.fromkeys((value, given.get(value, NATIVE), label) for value, label in wanted)
    return [pair for pair in pairs if pair[1] != pair[2]]


def without_choice(offered: Sequence[Candidate]) -> set[int]:
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
    any_kernels: bool = True,
) -> Planned:
    """Plan ``model`` for ``target`` on the machine that ``measure`` times on.

    On integers, but at effort ``low``, the runtime's float32 plan is made before: its forms are tried too.

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
        any_kernels: try the families of kernels that the runtime has there, not only its own choice.

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
    floats = None
    if roofline is not None:
        check = predictor(roofline)
    elif target.calibrated and effort != "low":
        floats = plan_target(
            model,
            Target(target.runtime),
            table,
            effort=effort,
            threads=threads,
            measure=measure,
            remote=remote,
            progress=progress,
            any_kernels=False,  # integers have one family: of interest are the forms in it
        ).choice
    # A roofline cannot tell kernels apart.
    blocked = any_kernels and roofline is None and _has_blocked(target, remote)
    return plan(model, pricing, chosen.scope, check, progress, floats, blocked=blocked)


def _has_blocked(target: Target, remote: Remote | None) -> bool:
    """Whether blocked kernels can be tried where ``target`` is timed."""
    if remote is not None:
        return remote.has_blocked(target)
    return has_blocked(target, platform.machine(), simd_lanes())


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
    is_exact = roofline is not None or (remote is not None and remote.figures == "emulated")
    if remote is not None:
        chosen = remote.settings(chosen)
    confirms = chosen.confirms and not is_exact
    return Pricing(table, place, target, measure, chosen.trial, opset, roofline, confirms), chosen


def here(target: Target, threads: int) -> Place:
    """This machine, this runtime."""
    described = describe_environment()
    cores = described["affinity"]
    machine = f"{described['cpu_model']}, {len(cores) if isinstance(cores, list) else cores} cores"
    versions = described["versions"]
    package = PACKAGES[target.runtime][0]
    version = str(versions.get(package))
    return Place(target.runtime, version, target.precision, threads, machine)
