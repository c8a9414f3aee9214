"""Every way to execute each part of a network: what the search chooses from.

A candidate covers one unit or a run of them. For factors the candidates are, for every segment of a chain
that composes exactly into one factor, every form that offers itself for it, also with ranks padded to whole
lanes. What a candidate costs depends on its key alone: form, geometry, shapes, labels; never on weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from tdedge.compose import NotExactError, compose
from tdedge.factor import Factor, Shape
from tdedge_exporters.planner import folding, grouping
from tdedge_exporters.planner.blocking import axes_of
from tdedge_exporters.planner.emitter import Emitter
from tdedge_exporters.planner.forms import apart, conv, frames, matmul, packed, segments, steps, views, volume
from tdedge_exporters.planner.forms.packed import Packing
from tdedge_exporters.planner.layouts import APART, FRAMES, NATIVE, Label, Layout, layouts_of
from tdedge_exporters.planner.offer import Offer, can_pad, keeps_zero, padded, with_channels
from tdedge_exporters.planner.units import Network, Unit

#: Forms of a single factor, in the order in which equals are preferred.
FORMS = (conv, views, frames, matmul, segments, apart)

#: Kinds of units that a candidate may cover together.
RUN = ("factor", "map", "pool")

EmitAll = Callable[[Emitter, Sequence[ir.Value]], Sequence[ir.Value]]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to execute a run of units.

    Attributes:
        units: what it covers, in order.
        form: name of the form, with its parameters.
        reads: label of every input of the first unit.
        gives: label of every output of the last.
        emit: the nodes: inputs in order to outputs.
        macs: multiply-accumulates it executes.
        detail: what its cost depends on, beside form, labels and shapes; JSON.
        is_plain: whether the nodes are those of the network as it came.
    """

    units: tuple[Unit, ...]
    form: str
    reads: Label
    gives: Label
    emit: EmitAll
    macs: int = 0
    detail: Any = None
    is_plain: bool = False

    @property
    def inputs(self) -> tuple[ir.Value, ...]:
        """Values it reads."""
        return self.units[0].inputs

    @property
    def outputs(self) -> tuple[ir.Value, ...]:
        """Values it gives."""
        return self.units[-1].outputs

    @cached_property
    def key(self) -> dict[str, Any]:
        """What identifies its cost."""
        return {
            "form": self.form,
            "reads": str(self.reads),
            "gives": str(self.gives),
            "shapes": [list(unit.input_shape) for unit in self.units] + [list(self.units[-1].output_shape)],
            "detail": self.detail,
        }

    def __str__(self) -> str:
        names = " + ".join(unit.name for unit in self.units)
        return f"{names}: {self.form} ({self.reads} -> {self.gives})"


@dataclass(frozen=True)
class Scope:
    """What may be tried.

    Attributes:
        lanes: SIMD lanes of float32 on the target; ranks are padded to multiples of it.
        layouts: layouts beside native.
        packings: blocks tried per factor.
        pad_ranks: whether ranks are padded.
        volumes: whether clips are packed as 3-D convolutions too.
        waste: a composed segment is tried where it executes at most this many times the multiply-accumulates
            of its factors.
        without: forms that are not tried.
        partial: whether products may be added up where one product of all could be.
        minimal: whether fewer products than the factor has may be mixed; they round more.
    """

    lanes: int = 16
    layouts: tuple[Layout, ...] = (Layout.FRAMES, Layout.LAST, Layout.APART)
    packings: int = 3
    pad_ranks: bool = True
    volumes: bool = False
    waste: float = 4.0
    without: frozenset[str] = frozenset()
    partial: bool = True
    minimal: bool = True


def candidates(net: Network, scope: Scope) -> list[Candidate]:
    """Every candidate of a network, plain ones first for every unit."""
    found: list[Candidate] = []
    for unit in net.units:
        if unit.kind == "factor":
            found += _factors(net, unit, scope)
        else:
            found += _single(unit, scope)
    return found


def _single(unit: Unit, scope: Scope) -> Iterator[Candidate]:
    yield plain(unit)
    if unit.kind == "map":
        for layout in layouts_of(unit.output_shape)[1:]:
            if layout in scope.layouts:
                yield _map(unit, Label(layout))
    elif unit.kind == "pool" and steps.can_pool_frames(unit):
        for label in (FRAMES, APART):
            if label.layout in scope.layouts:
                yield _frames_pool(unit, label)


def _frames_pool(unit: Unit, label: Label) -> Candidate:
    def emit(e: Emitter, x: Sequence[ir.Value]) -> list[ir.Value]:
        return [steps.emit_pool_frames(e, unit, x[0])]

    return Candidate((unit,), f"{label}.pool", label, label, emit, detail=_node_detail(unit))


def plain(unit: Unit) -> Candidate:
    """The unit's own nodes."""

    def emit(e: Emitter, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        known = dict(zip(unit.inputs, inputs, strict=True))
        made: list[ir.Value] = []
        for node in unit.nodes:
            made = e.copy(node, known)
            known.update(zip(node.outputs, made, strict=True))
        return made

    macs = unit.factor.macs(unit.input_shape) if unit.kind == "factor" else 0
    detail = factor_detail(unit.factor) if unit.kind == "factor" else _node_detail(unit)
    return Candidate((unit,), f"plain.{unit.kind}", NATIVE, NATIVE, emit, macs, detail, is_plain=True)


def _map(unit: Unit, label: Label) -> Candidate:
    def emit(e: Emitter, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        return [steps.emit_map(e, unit, inputs, label.layout)]

    return Candidate((unit,), "map", label, label, emit, detail=_node_detail(unit))


def _factors(net: Network, unit: Unit, scope: Scope) -> Iterator[Candidate]:
    run = net.runs_from(unit, RUN)
    yield plain(unit)
    chain: list[Unit] = []
    for part in run:
        if part.kind != "factor" or part.factor.spatial_rank != unit.factor.spatial_rank:
            break
        chain.append(part)
        budget = scope.waste * sum(each.factor.macs(each.input_shape) for each in chain)
        if len(chain) > 1 and _composed_macs(chain) > budget:
            continue
        try:
            whole = unit.factor
            if len(chain) > 1:
                whole = reduce(compose, (each.factor.astype(np.float64) for each in chain))
        except NotExactError:
            break
        yield from _forms(net, tuple(chain), whole, scope)
        yield from _packed((), tuple(chain), whole, run[len(chain) :], scope)
    after = net.following(unit)
    if packed.can_precede(unit) and after is not None and after.kind == "factor":
        yield from _packed((unit,), (after,), after.factor, net.runs_from(after, RUN)[1:], scope)


def _composed_macs(chain: Sequence[Unit]) -> int:
    """Multiply-accumulates of a chain as one factor, from its geometry alone."""
    factors = [unit.factor for unit in chain]
    groups = math.gcd(*(factor.groups for factor in factors))
    taps = 1
    for axis in range(factors[0].spatial_rank):
        reach, step = 1, 1
        for factor in factors:
            reach += (factor.kernel_size[axis] - 1) * factor.dilation[axis] * step
            step *= factor.stride[axis]
        taps *= reach
    return math.prod(chain[-1].output_shape) * (factors[0].in_channels // groups) * taps


def _forms(net: Network, units: tuple[Unit, ...], factor: Factor, scope: Scope) -> Iterator[Candidate]:
    """Every form of one factor, also with padded ranks on its linked sides."""
    shape = units[0].input_shape
    variants = [("", factor)]
    if 1 < factor.groups < factor.in_channels and factor.out_channels <= scope.lanes:
        variants.append(("dense ", grouping.dense(factor)))
    if (apart := grouping.grouped(factor)) is not None:
        variants.append(("grouped ", apart))
    for prefix, variant in variants:
        for zeros_in, zeros_out in _zeros(net, units, variant, scope):
            wide = padded(variant, zeros_in, zeros_out)
            inner = with_channels(shape, wide.in_channels, wide.spatial_rank)
            for room in FORMS:
                for offer in room.offers(wide, inner):
                    if _is_in(scope, offer) and not _is_own(units, prefix, offer, zeros_in + zeros_out):
                        yield _candidate(units, prefix, wide, inner, offer, zeros_in, zeros_out)
    if not net.is_link(units[0].inputs[0]):
        yield from _folded(units, factor, scope)


def _folded(units: tuple[Unit, ...], factor: Factor, scope: Scope) -> Iterator[Candidate]:
    """Every form of a narrow factor whose strides are folded into its channels."""
    for folded in folding.folds(factor, units[0].input_shape, scope.lanes):
        shape = folded.shape(units[0].input_shape)
        for room in FORMS:
            for offer in room.offers(folded.factor, shape):
                if not _is_in(scope, offer) or not folded.reads(offer.reads, factor.spatial_rank):
                    continue
                yield _candidate(units, folded.name, folded.factor, shape, folded.before(offer), 0, 0)


def _is_in(scope: Scope, offer: Offer) -> bool:
    """Whether an offer is to be tried."""
    if offer.form in scope.without or (offer.is_partial and not scope.partial):
        return False
    if offer.work < 1 and not scope.minimal:
        return False
    return offer.reads is Layout.NATIVE or offer.reads in scope.layouts


def _is_own(units: Sequence[Unit], prefix: str, offer: Offer, zeros: int) -> bool:
    """True for what the plain candidate is already."""
    return len(units) == 1 and not prefix and not zeros and offer.form in ("conv", "linear")


def _candidate(
    units: tuple[Unit, ...],
    prefix: str,
    factor: Factor,
    shape: Shape,
    offer: Offer,
    zeros_in: int,
    zeros_out: int,
) -> Candidate:
    return Candidate(
        units,
        prefix + offer.form,
        Label(offer.reads, zeros_in),
        Label(offer.gives, zeros_out),
        lambda e, x: [offer.emit(e, x[0])],
        round(offer.work * factor.macs(shape)),
        factor_detail(factor),
    )


def _zeros(net: Network, units: Sequence[Unit], factor: Factor, scope: Scope) -> Iterator[tuple[int, int]]:
    """Zero channels on both sides: none, and what fills the lanes of a rank on a link between factors."""
    yield 0, 0
    if not scope.pad_ranks or not can_pad(factor) or not factor.spatial_rank:
        return
    before = _to_lanes(factor.in_channels, scope) if net.is_link(units[0].inputs[0]) else 0
    after = _to_lanes(factor.out_channels, scope) if net.is_link(units[-1].outputs[0]) else 0
    if not keeps_zero(factor):
        after = 0
    if factor.is_depthwise:
        options = {(before, after)} if before == after else set()
    else:
        options = {(before, 0), (0, after), (before, after)}
    yield from sorted(options - {(0, 0)})


def _to_lanes(channels: int, scope: Scope) -> int:
    return -channels % scope.lanes if channels > scope.lanes // 2 else 0


def _packed(
    before: tuple[Unit, ...],
    units: tuple[Unit, ...],
    factor: Factor,
    follow: Sequence[Unit],
    scope: Scope,
) -> Iterator[Candidate]:
    shape = units[0].input_shape
    variant = grouping.dense(factor) if factor.groups > 1 and factor.in_channels <= scope.lanes else factor
    reads = [NATIVE]
    if (
        factor.spatial_rank == 3
        and Layout.FRAMES in scope.layouts
        and not units[0].inputs[0].is_graph_input()
    ):
        reads.append(FRAMES)
    chosen = packed.packings(variant, shape, scope.lanes)[: scope.packings]
    if chosen and scope.minimal:
        chosen += packed.minimal_packings(variant, shape, scope.lanes)[: scope.packings]
    for packing in chosen:
        for tail in _tails(follow, packing.blocks):
            for label in reads:
                yield _packed_candidate(before, units, variant, tail, packing, label)
            if scope.volumes and factor.spatial_rank == 3 and packing.plan is None:
                yield _packed_candidate(before, units, variant, tail, packing, None)


def _tails(follow: Sequence[Unit], blocks: Shape) -> Iterator[tuple[Unit, ...]]:
    """What may be packed with a factor: nothing, or all that can, with the pool behind it."""
    yield ()
    tail = packed.followers(follow)
    after = follow[len(tail)] if len(tail) < len(follow) else None
    if after is not None and packed.can_pool(after, blocks):
        tail = (*tail, after)
    if tail:
        yield tail


def _packed_candidate(
    before: tuple[Unit, ...],
    units: tuple[Unit, ...],
    factor: Factor,
    tail: tuple[Unit, ...],
    packing: Packing,
    reads: Label | None,
) -> Candidate:
    """Packed from ``reads``; as a volume, native to native, where that is None."""
    blocks, plan = packing.blocks, packing.plan

    def emit(e: Emitter, x: Sequence[ir.Value]) -> list[ir.Value]:
        if reads is None:
            return [volume.emit(e, x[0], factor, blocks, before=before, units=tail)]
        return [packed.emit(e, x[0], factor, blocks, reads.layout, plan=plan, before=before, units=tail)]

    axes = axes_of(factor, units[0].input_shape, blocks, gather=reads is not None)
    inside = [unit.factor.macs(unit.input_shape) for unit in (*before, *tail) if unit.kind == "factor"]
    macs = packed.macs_of(factor, axes, plan) + sum(inside) * math.prod(blocks)
    detail = [
        [_unit_detail(unit) for unit in before],
        factor_detail(factor),
        [_unit_detail(unit) for unit in tail],
        packed.VERSION,
    ]
    form = f"{'volume' if reads is None else 'packed'}.{'x'.join(map(str, blocks))}"
    form += ".minimal" if plan else ""
    gives = FRAMES if factor.spatial_rank == 3 and reads is not None else NATIVE
    return Candidate((*before, *units, *tail), form, reads or NATIVE, gives, emit, macs, detail)


def factor_detail(factor: Factor) -> list[Any]:
    """Geometry of a factor, without its weights."""
    pads = [list(pair) for pair in factor.pads]
    has_bias = factor.bias is not None
    shape = list(factor.kernel.shape)
    return [
        shape,
        list(factor.stride),
        pads,
        list(factor.dilation),
        factor.groups,
        has_bias,
        factor.activation,
    ]


def _unit_detail(unit: Unit) -> Any:
    return factor_detail(unit.factor) if unit.kind == "factor" else _node_detail(unit)


def _node_detail(unit: Unit) -> list[Any]:
    node = unit.nodes[0]
    attributes = {name: str(attribute.value) for name, attribute in sorted(node.attributes.items())}
    return [node.op_type, len(unit.inputs), attributes, *(after.op_type for after in unit.nodes[1:])]
