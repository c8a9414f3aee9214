"""The last word on a plan: the planned network against the network as it came, interleaved in one process.

It also times plans that cost little more (:mod:`tdedge_exporters.planner.contenders`), on integers the forms
of float32 (:mod:`tdedge_exporters.planner.lent`), and other kernels for all of the network, where a runtime
has them (:mod:`tdedge_exporters.kernels`); the fastest is kept.

What both took is kept in the cost table, by the networks' structure without their weights, so that a second
export of the same networks times nothing. Times taken beside busy processes are not kept.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx_ir as ir

from tdedge_exporters.kernels import kernels_of
from tdedge_exporters.lowering import Lowered, Target
from tdedge_exporters.planner.costs import Cost, CostTable, Place
from tdedge_exporters.planner.pricing import Measure
from tdedge_exporters.planner.roofline import Roofline
from tdedge_exporters.planner.timing import lower_to_time
from tdedge_exporters.planner.trials import key_sha256
from tdedge_runtimes.measure import MeasureOptions

#: What a plan must save of the whole network's time to be kept.
LEAST_SAVING = 0.01
#: Savings up to here are within reach of noise: the check is made twice.
CLOSE = 0.05

#: Networks that take at most so many times as long as the fastest are told beside it.
NEAR = 1.5

#: The network as it came, in the forms that cost least, and in those of float32.
PLAIN, PLANNED, LENT = "plain", "planned", "in the forms of float32"
#: In forms that cost little more.
OTHERS = ("in forms that cost little more", "in others that cost little more")
#: The first two in blocked kernels.
IN_BLOCKED = {PLAIN: "in blocked kernels", PLANNED: "planned, in blocked kernels"}

Models = Mapping[str, ir.Model]
#: Times whole networks side by side, by those labels.
Check = Callable[[Models], dict[str, Cost]]


def checker(
    target: Target,
    measure: Measure,
    options: MeasureOptions,
    lower: Callable[[ir.Model, Path, Target], Lowered] = lower_to_time,
) -> Check:
    """Times whole networks, interleaved, in the files that ``lower`` makes of them."""

    def check(models: Models) -> dict[str, Cost]:
        with tempfile.TemporaryDirectory() as scratch:
            files = {}
            for label, model in models.items():
                folder = Path(scratch) / label
                folder.mkdir()
                files[label] = lower(model, folder, target).entry
            return dict(measure(files, target, options))

    return check


def predictor(roofline: Roofline) -> Check:
    """Predicts whole networks."""
    return lambda models: {label: Cost(roofline.predict_ms(model)) for label, model in models.items()}


def decided(check: Check) -> Check:
    """``check``, made once more where its times are close; the less favourable ones then count."""

    def both(models: Models) -> dict[str, Cost]:
        first = check(models)
        return first if abs(saving(first)) > CLOSE else min(first, check(models), key=saving)

    return both


def saving(timed: Mapping[str, Cost]) -> float:
    """What the fastest planned network saves, as a share of the plain one's time."""
    return 1 - timed[fastest(timed)].median_ms / timed[PLAIN].median_ms


def kept(timed: Mapping[str, Cost]) -> str:
    """The label of the network to keep; nothing was timed where there is no other, or it cannot run."""
    return fastest(timed) if timed and saving(timed) > LEAST_SAVING else PLAIN


def fastest(timed: Mapping[str, Cost]) -> str:
    """The label of the fastest network but the one as it came."""
    return min((label for label in timed if label != PLAIN), key=lambda label: timed[label].median_ms)


def runners_up(timed: Mapping[str, Cost]) -> list[str]:
    """Labels of the networks that are not kept and yet near, the runtime's own kernels in all of them."""
    label = kept(timed)
    most = NEAR * timed[label].median_ms if timed else 0.0
    near = [other for other, cost in timed.items() if other != label and cost.median_ms <= most]
    return sorted(set(near).difference(IN_BLOCKED.values()), key=lambda other: timed[other].median_ms)


def remembered(check: Check, table: CostTable, place: Place) -> Check:
    """``check``, asked only for networks whose times the table does not hold."""

    def find(models: Models) -> dict[str, Cost]:
        structures = {label: structure_sha256(model) for label, model in models.items()}
        keys = {label: {"trial": "network", "label": label, "of": structures} for label in models}
        known = {label: table.get(place, key_sha256(key)) for label, key in keys.items()}
        found = {label: cost for label, cost in known.items() if cost is not None}
        if len(found) == len(models):
            return found
        timed = check(models)
        if all(cost.quiet for cost in timed.values()):
            for label, key in keys.items():
                table.put(place, key_sha256(key), key, timed[label])
        return timed

    return find


def structure_sha256(model: ir.Model) -> str:
    """Identity of a network for its speed: nodes, shapes, types and kernels, but no weights."""
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        digest.update(repr(parts).encode())

    def described(value: ir.Value | None) -> object:
        return None if value is None else (value.name, str(value.dtype), str(value.shape))

    if family := kernels_of(model):
        add(family)
    graph = model.graph
    add(*(described(value) for value in (*graph.inputs, *graph.initializers.values(), *graph.outputs)))
    for node in graph:
        add(node.domain, node.op_type)
        add(*(None if value is None else value.name for value in node.inputs))
        add(*(value.name for value in node.outputs))
        for name, attribute in sorted(node.attributes.items()):
            held = attribute.value
            tensor = isinstance(held, ir.TensorProtocol)
            add(name, (str(held.dtype), str(held.shape)) if tensor else str(held))
    return digest.hexdigest()
