"""The plan of one target as a document: what was considered, measured, chosen and why; and its replay.

``of`` writes it, ``to_json`` and ``from_json`` carry it in an artifact's ``plan.json``, ``replay`` applies it
to the same network again without measuring, :mod:`tdedge_exporters.planner.explain` puts it into words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tdedge.errors import UsageError
from tdedge_exporters.kernels import BLOCKED, with_kernels
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.candidates import Candidate, candidates, plain
from tdedge_exporters.planner.checks import IN_BLOCKED, LENT, OTHERS, PLAIN, PLANNED, fastest
from tdedge_exporters.planner.costs import Place
from tdedge_exporters.planner.efforts import settings
from tdedge_exporters.planner.layouts import Label, Layout
from tdedge_exporters.planner.planner import Planned, conversions
from tdedge_exporters.planner.reasons import Reasons
from tdedge_exporters.planner.rebuild import rebuild
from tdedge_exporters.planner.remote import Remote
from tdedge_exporters.planner.trials import key_sha256
from tdedge_exporters.planner.units import Network, network, refusal

SCHEMA_VERSION: Literal[1] = 1

#: What a time is: taken on a processor, counted by an emulated one, or computed.
Kind = Literal["measured", "emulated", "predicted"]
#: A family of :mod:`tdedge_exporters.kernels`, or the runtime's own choice.
Kernels = Literal["", "blocked"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Form(_Part):
    """One way to execute a run of units; ``cost_ms`` is null where there was nothing to choose or to run."""

    units: tuple[str, ...] = Field(min_length=1)
    form: str
    reads: str
    gives: str
    plain: bool = False
    cost_ms: float | None = None

    @field_validator("reads", "gives")
    @classmethod
    def _label(cls, text: str) -> str:
        Label.parse(text)
        return text

    @property
    def identity(self) -> tuple[tuple[str, ...], str, str, str]:
        """What a candidate is found again by."""
        return self.units, self.form, self.reads, self.gives


class Rejected(Form):
    """A form that was not chosen; ``gap_ms``: how much slower in place, negative where it is faster alone."""

    gap_ms: float | None = None
    reason: str


class Piece(Form):
    """A form that was chosen, and what stood against it.

    ``key`` tells forms of one name apart; ``kind`` is where the cost comes from.
    """

    key: str = ""
    kind: Kind | None = None
    rejected: tuple[Rejected, ...] = ()


class Conversion(_Part):
    """A value that is stored otherwise on the way."""

    value: str
    source: str
    target: str
    cost_ms: float


class Check(_Part):
    """Latency of both whole networks: timed interleaved, counted by an emulated processor, or predicted."""

    kind: Kind = "measured"

    plain_ms: float
    planned_ms: float


class TargetPlan(_Part):
    """How one target executes a network.

    ``device``: where it was timed, empty for the exporting machine. ``kernels``: what convolutions are
    executed by.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    target: str
    runtime_version: str
    machine: str
    device: str = ""
    threads: int = Field(ge=1)
    lanes: int = Field(default=16, ge=1)
    effort: str
    replayed: bool = False
    kernels: Kernels = ""
    kept: Literal["planned", "plain"]
    why: str
    check: Check | None = None
    pieces: tuple[Piece, ...] = ()
    conversions: tuple[Conversion, ...] = ()

    @property
    def not_plain(self) -> int:
        """Pieces in another form than the network came in."""
        return sum(not piece.plain for piece in self.pieces)

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"schema_version": SCHEMA_VERSION}


def from_json(content: Any, where: str = "") -> TargetPlan:
    """The inverse of :meth:`TargetPlan.to_json`.

    Raises:
        UsageError: naming the key and what is wrong with it.
    """
    try:
        return TargetPlan.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "plan"
        raise UsageError(f"{where}{key}: {first['msg'].removeprefix('Value error, ').lower()}") from error


def of(
    planned: Planned, target: Target, place: Place, effort: str, remote: Remote | None = None
) -> TargetPlan:
    """The document of what the planner did, on a device where one is given."""
    kind: Kind = "predicted" if planned.is_predicted else remote.figures if remote else "measured"
    reasons = Reasons(planned)
    rejected: dict[int, list[Rejected]] = defaultdict(list)
    chosen = {id(candidate) for candidate in planned.choice.chosen}
    shipped = {(c.units, c.form, c.reads, c.gives) for c in planned.choice.chosen if c.is_plain}
    for candidate, _ in planned.options:
        same = (candidate.units, candidate.form, candidate.reads, candidate.gives) in shipped
        if id(candidate) not in chosen and not same:
            gap_ms, reason = reasons.of(candidate)
            form = _form(candidate, reasons.cost_ms(candidate))
            rejected[candidate.units[0].index].append(Rejected(**form, gap_ms=gap_ms, reason=reason))
    pieces = []
    for candidate in planned.choice.chosen:
        cost = reasons.cost_ms(candidate)
        beside = [row for unit in candidate.units for row in rejected[unit.index]]
        pieces.append(
            Piece(
                **_form(candidate, cost),
                key=key_sha256(candidate.key)[:12],
                kind=None if cost is None else kind,
                rejected=tuple(sorted(beside, key=lambda row: (row.gap_ms is None, row.gap_ms))),
            )
        )
    kernels: Kernels = BLOCKED if planned.kernels else ""
    others = planned.choice is planned.searched and not all(piece.plain for piece in pieces)
    kept: Literal["planned", "plain"] = "planned" if others or kernels else "plain"
    made = planned.conversions if others else ()
    return TargetPlan(
        target=str(target),
        runtime_version=place.version,
        machine=place.machine,
        device=remote.name if remote else "",
        threads=place.threads,
        lanes=planned.lanes,
        effort=effort,
        kernels=kernels,
        kept=kept,
        why=_why(planned, kind) + (f", on {remote.name}" if remote and planned.checked_ms else ""),
        check=_check(planned, kind),
        pieces=tuple(pieces),
        conversions=tuple(
            Conversion(value=str(value.name), source=str(source), target=str(label), cost_ms=round(cost, 5))
            for value, source, label, cost in made
        ),
    )


def unplanned(target: Target, place: Place, effort: str, reason: str, device: str = "") -> TargetPlan:
    """The document of a network that the planner left alone."""
    return TargetPlan(
        target=str(target),
        runtime_version=place.version,
        machine=place.machine,
        device=device,
        threads=place.threads,
        effort=effort,
        kept="plain",
        why=reason,
    )


def _form(candidate: Candidate, cost_ms: float | None) -> dict[str, Any]:
    return {
        "units": tuple(unit.name for unit in candidate.units),
        "form": candidate.form,
        "reads": str(candidate.reads),
        "gives": str(candidate.gives),
        "plain": candidate.is_plain,
        "cost_ms": None if cost_ms is None else round(cost_ms, 5),
    }


#: Label of a network -> how it is executed, in the sentence about the one that is told first, and of others.
_TOLD = {
    PLANNED: ("the planned network", "", "in the forms that cost least"),
    **{label: ("the planned network", label, label) for label in (LENT, *OTHERS)},
    IN_BLOCKED[PLAIN]: ("the network as it came", IN_BLOCKED[PLAIN], IN_BLOCKED[PLAIN]),
    IN_BLOCKED[PLANNED]: ("the planned network", IN_BLOCKED[PLAIN], IN_BLOCKED[PLANNED]),
}


def _told(planned: Planned) -> str | None:
    """The label of the network that stands against the one as it came; None where there is none."""
    timed = planned.checked_ms
    if planned.kept != PLAIN:
        return planned.kept
    return PLANNED if PLANNED in timed else fastest(timed) if timed else None


def _check(planned: Planned, kind: Kind) -> Check | None:
    label, timed = _told(planned), planned.checked_ms
    if label is None:
        return None
    return Check(kind=kind, plain_ms=timed[PLAIN].median_ms, planned_ms=timed[label].median_ms)


def _why(planned: Planned, kind: Kind) -> str:
    label = _told(planned)
    unit = "ms of instruction time" if kind == "emulated" else "ms"
    timed = {label: f"{cost.median_ms:.2f} {unit}" for label, cost in planned.checked_ms.items()}
    if label is None:
        alone = planned.choice is planned.searched
        return (
            "no other form of any part was faster" if alone else "the target cannot run the planned network"
        )
    subject, manner, _ = _TOLD[label]
    verdict = " ".join(filter(None, ("faster" if planned.kept == label else "not faster", manner)))
    told = "predicted to be " if kind == "predicted" else ""
    beside = "".join(
        f", {_TOLD[other][2]} {text}" for other, text in timed.items() if other not in (PLAIN, label)
    )
    times = f"{timed[label]}, plain {planned.checked_ms[PLAIN].median_ms:.2f} ms{beside}"
    return f"{subject} is {told}{verdict}: {times}"


def replay(model: ir.Model, plan: TargetPlan) -> ir.Model:
    """``model`` in the forms of ``plan``, without measuring.

    Raises:
        UsageError: where the network is not the one that was planned.
    """
    if not plan.pieces:
        return model
    where = f"the plan for {plan.target} was made for another network"
    if (reason := refusal(model)) is not None:
        raise UsageError(f"{where}: {reason}")
    net = network(model, integers=Target.parse(plan.target).calibrated)
    names = {unit.name for unit in net.units}
    if missing := [name for piece in plan.pieces for name in piece.units if name not in names]:
        raise UsageError(f"{where}: it names {missing[0]!r}, which is not in this one")
    chosen = _found(net, plan, where)
    left = {unit.index: unit.name for unit in net.units}
    for candidate in chosen:
        for unit in candidate.units:
            if left.pop(unit.index, None) is None:
                raise UsageError(f"the plan for {plan.target} executes {unit.name!r} twice")
    if left:
        raise UsageError(f"{where}: it does not say how to execute {next(iter(left.values()))!r}")
    for value, source, label in conversions(net, chosen):
        if source.zeros != label.zeros:
            raise UsageError(
                f"the plan for {plan.target} gives {value.name!r} as {source}, reads it as {label}"
            )
    made = model if all(candidate.is_plain for candidate in chosen) else rebuild(net, chosen)
    return with_kernels(made, plan.kernels) if plan.kernels else made


def _found(net: Network, plan: TargetPlan, where: str) -> list[Candidate]:
    """The candidates that the pieces of ``plan`` name, in execution order."""
    layouts = tuple(layout for layout in Layout if layout is not Layout.NATIVE)
    scope = settings("max", Target.parse(plan.target), threads=plan.threads, lanes=plan.lanes).scope
    widest = replace(scope, layouts=layouts, packings=10**6, pad_ranks=True, partial=True)
    all_plain = all(piece.plain for piece in plan.pieces)
    offered = [plain(unit) for unit in net.units] if all_plain else candidates(net, widest)
    by_identity: dict[Any, list[Candidate]] = defaultdict(list)
    for each in offered:
        names = tuple(unit.name for unit in each.units)
        by_identity[names, each.form, str(each.reads), str(each.gives)].append(each)
    chosen = []
    for piece in plan.pieces:
        same = by_identity[piece.identity]
        if not same:
            raise UsageError(
                f"{where}: {' + '.join(piece.units)} cannot be executed as {piece.form!r} "
                f"({piece.reads} to {piece.gives}) here; plan it again"
            )
        # Names may repeat in a network, and forms of one name may differ in what they compose.
        best = next((each for each in same if key_sha256(each.key).startswith(piece.key)), same[0])
        same.remove(best)
        chosen.append(best)
    return sorted(chosen, key=lambda each: each.units[-1].index)


def from_artifact(targets: Mapping[str, Any], where: str) -> dict[str, TargetPlan]:
    """Target -> plan, of the ``targets`` of an artifact's ``plan.json``.

    Raises:
        UsageError: naming the key and what is wrong with it.
    """
    plans = {}
    for name, content in targets.items():
        plan = from_json(content, f"{where}: targets.{name}.")
        if plan.target != name or str(Target.parse(plan.target)) != name:
            raise UsageError(f"{where}: targets.{name}.target: is {plan.target!r}; expected {name!r}")
        plans[name] = plan
    return plans
