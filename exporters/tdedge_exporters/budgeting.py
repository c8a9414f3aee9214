"""Ranks within a budget: every option of every layer priced on the target, one chosen, the whole measured.

    options    formats at aligned ranks, per layer                     tdedge.ranks.options
    cost       planned milliseconds on the target, or a count          planner.layer_costs
    loss       what each loses, from weights, data or a metric         tdedge.ranks.sensitivity
    choice     multiple-choice knapsack                                tdedge.ranks.budget
    check      the compressed network planned and timed beside the dense one, planned too

Where the whole takes more than its parts promised the next choice is made for so much less, a few times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from tdedge.chain import Chain
from tdedge.compress import LayerSite
from tdedge.errors import GateError, UsageError
from tdedge.factor import Shape
from tdedge.plan import CompressionPlan
from tdedge.progress import SILENT, Progress
from tdedge.ranks import budget as budgets
from tdedge.ranks.budget import Budget, Chosen, Menu
from tdedge.ranks.options import LADDER, Option, layer_options, skeleton
from tdedge_exporters import lowering
from tdedge_exporters.capture import Captured, capture, load_module
from tdedge_exporters.chains import layer_sites
from tdedge_exporters.export import rewrite
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner import costs
from tdedge_exporters.planner.efforts import Settings
from tdedge_exporters.planner.layer_costs import chain_ms
from tdedge_exporters.planner.planner import priced
from tdedge_exporters.planner.pricing import Measure, Pricing
from tdedge_exporters.planning import Planning, plan_network
from tdedge_exporters.prepare import Prepared, Source, compress_module, prepare
from tdedge_runtimes.measure import MeasureOptions

#: A measured network may take so much more than the budget: noise.
TOLERANCE = 0.02
#: Choices that are measured before a budget is given up.
ROUNDS = 4

DENSE, SMALL = "dense", "compressed"


@dataclass(frozen=True)
class DenseNetwork:
    """A network before its ranks are chosen.

    Attributes:
        source: gives the same network again, with the same weights.
        captured: the network as a graph.
        sites: its layers by name.
        module: the live torch module; None for a graph.
    """

    source: Source
    captured: Captured
    sites: Mapping[str, LayerSite]
    module: Any = None

    @property
    def model(self) -> ir.Model:
        """The graph."""
        return self.captured.model

    @property
    def example(self) -> Any:
        """Example inputs of a module."""
        return self.captured.example


def read_dense(source: Source) -> DenseNetwork:
    """Capture a network and find its layers.

    Raises:
        UsageError: bad source.
        MissingError: torch is needed and not installed.
    """
    if not source.is_module:
        captured = capture(source.location, input_shapes=source.input_shapes or None, trust=source.trust)
        return DenseNetwork(source, captured, layer_sites(captured.model))
    from tdedge import torch_layers

    module, example = source.location, None
    if isinstance(module, str | Path):
        module, example = load_module(module, weights=source.weights, python_path=source.python_path)
    live = replace(source, location=module, weights=None, python_path=())
    if source.input_shapes:
        example = None
    captured = capture(module, example=example, input_shapes=source.input_shapes or None)
    layers = torch_layers.find(module, torch_layers.as_inputs(captured.example or ()))
    sites = {name: layer.site for name, layer in layers.items()}
    return DenseNetwork(live, captured, sites, module)


@dataclass(frozen=True)
class TargetTimes:
    """Times on one target.

    Attributes:
        target: what networks are lowered to.
        planning: how they are planned and timed.
        progress: told about what is timed.
    """

    target: Target
    planning: Planning
    progress: Progress = SILENT

    def lanes(self) -> int:
        """SIMD lanes there: the quantum of ranks."""
        with costs.open_table(None) as table:
            return self._priced(table, 20)[1].scope.lanes

    def option_ms(
        self, sites: Mapping[str, LayerSite], options: Mapping[str, Sequence[Option]], opset: int
    ) -> dict[str, list[float]]:
        """Layer -> option -> planned milliseconds of all its calls.

        Raises:
            RuntimesError: nothing could be timed.
        """
        chains: list[tuple[Chain, Shape]] = []
        places: dict[str, int] = {}

        def place(site: LayerSite, option: Option, shape: Shape) -> int:
            dense = site.factor
            key = repr((dense.kernel.shape, dense.stride, dense.pads, dense.dilation, dense.groups))
            key += repr((dense.bias is None, option.format, option.ranks, shape))
            if key not in places:
                places[key] = len(chains)
                chain = Chain((dense,)) if option.is_dense else skeleton(dense, option.format, option.ranks)
                chains.append((chain, shape))
            return places[key]

        where = {
            name: [[place(sites[name], option, shape) for shape in sites[name].shapes] for option in row]
            for name, row in options.items()
        }
        known = (
            costs.open_table(self.planning.cost_table) if self.planning.cost_table else costs.users_table()
        )
        with known as table:
            pricing, settings = self._priced(table, opset)
            ms = chain_ms(chains, pricing, settings.scope, self.progress)
        return {name: [sum(ms[index] for index in calls) for calls in row] for name, row in where.items()}

    def whole_ms(self, models: Mapping[str, ir.Model]) -> dict[str, float]:
        """Latency of whole networks, each planned, interleaved.

        Raises:
            RuntimesError: one cannot be timed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            files = {}
            for label, model in models.items():
                files[label] = self.planned_file(model, Path(scratch) / label)
            remote = self.planning.remote
            options = MeasureOptions(
                threads=self.planning.threads, min_blocks=9, max_seconds=10.0, resamples=100
            )
            if remote is not None and remote.figures != "measured":
                options = options.counted()
            costs_of = self.measure(files, self.target, options)
            return {label: cost.median_ms for label, cost in costs_of.items()}

    def planned_file(self, model: ir.Model, folder: Path) -> Path:
        """The file to run of a captured network, rewritten, planned and lowered into a new folder."""
        planned, _ = plan_network(rewrite(model)[0], self.target, self.planning, self.progress)
        folder.mkdir(parents=True, exist_ok=True)
        return lowering.lower(planned, folder, self.target).entry

    @property
    def measure(self) -> Measure:
        """What times files: the device that is planned for, or this machine."""
        remote = self.planning.remote
        return self.planning.measure if remote is None else remote.measure

    def _priced(self, table: costs.CostTable, opset: int) -> tuple[Pricing, Settings]:
        planning = self.planning
        effort = "normal" if planning.effort == "none" else planning.effort
        return priced(
            self.target,
            table,
            opset,
            effort=effort,
            threads=planning.threads,
            measure=planning.measure,
            remote=planning.remote,
        )


@dataclass(frozen=True)
class Ranked:
    """A network at the ranks that were chosen.

    Attributes:
        chosen: option of every layer.
        prepared: the compressed network.
        measured_ms: dense and compressed network, planned and interleaved; empty where nothing was timed.
        rounds: choices that were measured.
    """

    chosen: Chosen
    prepared: Prepared
    measured_ms: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 0

    @property
    def measured_share(self) -> float | None:
        """Of the dense network's time; None where nothing was timed."""
        return self.measured_ms[SMALL] / self.measured_ms[DENSE] if self.measured_ms else None


def menu_of(
    dense: DenseNetwork,
    formats: Sequence[str],
    kind: str,
    times: TargetTimes,
    *,
    ladder: Sequence[float] = LADDER,
) -> tuple[dict[str, list[Option]], dict[str, list[float]], float]:
    """Options of every layer, their costs, and what the dense network costs beside its layers.

    Args:
        dense: the network.
        formats: to try, by name.
        kind: of the budget, see :mod:`tdedge.ranks.budget`.
        times: on the target.
        ladder: shares of the channels that ranks are offered at.

    Raises:
        UsageError: an unknown format, or no layer that could become smaller.
    """
    lanes = times.lanes()
    options = {
        name: layer_options(site, formats, quantum=lanes, ladder=ladder) for name, site in dense.sites.items()
    }
    if all(len(row) == 1 for row in options.values()):
        raise UsageError(f"no layer becomes smaller as {' or '.join(formats)}; choose other formats")
    if kind not in budgets.MEASURED:
        return options, budgets.counted_costs(options, kind), 0.0
    layers = times.option_ms(dense.sites, options, dense.model.graph.opset_imports[""])
    whole = times.whole_ms({DENSE: dense.model})[DENSE]
    return options, layers, max(whole - sum(row[0] for row in layers.values()), 0.0)


def compress_within(
    dense: DenseNetwork, menu: Menu, budget: Budget, times: TargetTimes, progress: Progress = SILENT
) -> Ranked:
    """The choice of least loss that keeps a budget; one in time is measured, and made again where it fails.

    Raises:
        GateError: it cannot be kept; says what was reached.
    """
    share = budget.share
    reached: list[float] = []
    for number in range(1, ROUNDS + 1):
        try:
            chosen = budgets.choose(menu, share)
        except GateError as error:
            if not reached:
                raise
            raise GateError(f"{_missed(budget, reached)}; {error.message}") from error
        ranked = compressed(dense, chosen, times if budget.is_measured else None, progress)
        if (measured := ranked.measured_share) is None:
            return ranked
        if measured <= budget.share * (1 + TOLERANCE):
            return replace(ranked, rounds=number)
        reached.append(measured)
        share *= 0.98 * budget.share / measured
    raise GateError(_missed(budget, reached))


def compressed(
    dense: DenseNetwork, chosen: Chosen, times: TargetTimes | None, progress: Progress = SILENT
) -> Ranked:
    """The network at a choice, timed beside the dense one where ``times`` are given."""
    prepared = prepare_at(dense, chosen.plan, progress)
    if times is None:
        return Ranked(chosen, prepared)
    return Ranked(chosen, prepared, times.whole_ms({DENSE: dense.model, SMALL: prepared.model}), 1)


def prepare_at(dense: DenseNetwork, plan: CompressionPlan, progress: Progress = SILENT) -> Prepared:
    """The network compressed by a plan."""
    if dense.module is None:
        return prepare(dense.source, plan, progress=progress)
    return compress_module(dense.module, dense.captured, plan, dense.source.input_shapes, progress)


def _missed(budget: Budget, reached: Sequence[float]) -> str:
    return (
        f"{budget}: the best of {len(reached)} choices took {min(reached):.0%} of the dense network's time; "
        "allow more time or other formats"
    )
