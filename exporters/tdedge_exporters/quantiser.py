"""The int8 stage of an export: each target's planned graph on integers, equalised where that gains.

The network is equalised once, which changes no output. Which of the two rounds better shows only in the forms
that a target executes, so the plan, made for shapes and not for weights, is applied to both, both are
quantised, and the one with the better signal-to-noise ratio on calibration data that ranges were not found on
is kept; where products may stay float32 for a ratio that is asked for, the one where they take less time.

Where some must, the forms that are the fastest with everything on integers need not be the fastest any more:
few large products leave little choice of what stays. Then every way that the planner found near is
quantised for the ratio, and the one that takes the least time as it would be shipped is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import onnx_ir as ir

from tdedge.progress import SILENT, Progress
from tdedge_exporters import lowering
from tdedge_exporters.calibration import Calibration
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.checks import checker
from tdedge_exporters.planner.plan import TargetPlan, replay
from tdedge_exporters.planning import Planning, Way
from tdedge_exporters.quantize.equalise import rescaled, seen_on_links
from tdedge_exporters.quantize.grids import Array
from tdedge_exporters.quantize.judge import Judge, fold_count, optimism_db, without
from tdedge_exporters.quantize.quantize import Quantised, quantize_judged
from tdedge_exporters.quantize.settings import Int8
from tdedge_exporters.quantize.statistics import together
from tdedge_runtimes.errors import RuntimesError

#: Median latencies in milliseconds of networks on integers, timed side by side on a target.
Times = Callable[[Sequence[ir.Model], Target], Sequence[float]]
#: Runtimes whose products give nothing but integers.
_GIVES_INTEGERS = ("tflite",)


@dataclass(frozen=True)
class Made:
    """A target's graph on integers.

    Attributes:
        quantised: the graph, and what rounding cost.
        source: the float32 graph it was made of.
        links: how many of its links were rescaled.
        judge: of ``source`` on the calibration data.
        plan: what says its forms; None where it was not planned.
        less_db: what its ratio on the calibration data is too high by, as the best of others with all
            products on integers.
    """

    quantised: Quantised
    source: ir.Model
    links: int
    judge: Judge
    plan: TargetPlan | None = None
    less_db: float = 0.0


@dataclass(frozen=True)
class Equalised:
    """A network with its links rescaled.

    Attributes:
        model: the network.
        links: how many were.
        twins: the network with the scales that the samples of each of their :func:`folds` had given.
    """

    model: ir.Model
    links: int
    twins: Sequence[ir.Model] = ()

    @classmethod
    def of(
        cls, model: ir.Model, samples: Sequence[Mapping[str, Array]], progress: Progress = SILENT
    ) -> Equalised:
        """A copy of ``model``, not planned, its links rescaled on calibration data."""
        count = fold_count(len(samples))
        parts = seen_on_links(model, samples, count or 1, progress)
        made, links = rescaled(model, together(parts))
        twins = [rescaled(model, together(without(parts, fold)))[0] for fold in range(count if links else 0)]
        return cls(made, len(links), twins)

    def planned(self, plan: TargetPlan | None) -> Equalised:
        """The network in the forms of a plan that was made of it as it came."""
        if plan is None:
            return self
        return replace(
            self, model=replay(self.model, plan), twins=[replay(twin, plan) for twin in self.twins]
        )


@dataclass(frozen=True)
class Quantising:
    """How one network is put on integers for one target.

    Attributes:
        other: the network equalised; None to leave its channels as they are.
        samples: calibration data, one feed each.
        settings: how.
        target: what executes it.
        progress: told about the calibration.
    """

    other: Equalised | None
    samples: Sequence[Mapping[str, Array]]
    settings: Int8
    target: Target
    progress: Progress = SILENT

    def better(self, way: Way) -> Made:
        """One way on integers, or its equalised twin where that is better.

        Args:
            way: the float32 graph in the forms of a plan, and the plan; None where it was not planned.

        Raises:
            UsageError: no samples, a node to keep that does not exist, or tensors that are not finite.
        """
        planned, plan = way
        plain = self._made(Equalised(planned, 0), plan)
        if self.other is None or not self.other.links:
            return replace(plain, less_db=optimism_db(plain.judge.energies_of_methods(self.settings)))
        both = plain, self._made(self.other.planned(plan), plan)
        less_db = optimism_db([way for made in both for way in made.judge.energies_of_methods(self.settings)])
        return replace(max(both, key=_worth), less_db=less_db)

    def fastest(self, ways: Sequence[Way], times: Times) -> Made:
        """The way that takes the least time with the ratio that is asked for.

        Args:
            ways: how the target executes the network, the fastest on integers first; that one is kept where
                all products are on integers.
            times: times the networks; where it cannot, the first is kept.

        Raises:
            UsageError: as :meth:`better`.
            DeviceError: the device was lost.
        """
        if self.settings.min_sqnr_db is None or len(ways) == 1:
            return self.better(ways[0])
        loose = replace(self, settings=replace(self.settings, min_sqnr_db=None))
        return self.at_ratio(loose.better(ways[0]), ways, times)

    def at_ratio(self, whole: Made, ways: Sequence[Way], times: Times) -> Made:
        """As :meth:`fastest`, for a ratio that is asked for.

        Args:
            whole: the first way with all products on integers. Whether equalised channels and which method
                help there is not asked again: the ratio takes minutes for large networks.
            ways: how the target executes the network, the fastest on integers first.
            times: times the networks; where it cannot, the first is kept.

        Raises:
            UsageError: as :meth:`better`.
            DeviceError: the device was lost.
        """
        strict = replace(self.settings, method=whole.quantised.report.method)
        again = replace(self, settings=strict)
        quantised = quantize_judged(whole.judge, strict, self.progress, less_db=whole.less_db)
        first = replace(whole, quantised=quantised)
        if len(ways) == 1 or not first.quantised.kept_ms:
            return first
        made = [first]
        other = self.other if whole.links else None
        for model, plan in ways[1:]:
            network = Equalised(model, 0) if other is None else other.planned(plan)
            made.append(again._made(network, plan, whole.less_db))
        try:
            timed = times([one.quantised.model for one in made], self.target)
        except RuntimesError:
            return first
        least, best = min(zip(timed, made, strict=True), key=lambda pair: pair[0])
        if best.plan is None or best is first:
            return best
        kept, others = (len(one.quantised.report.kept) for one in (best, first))
        why = (
            f"faster with as many products in float32 as the ratio needs: {least:.2f} ms with {kept}, the "
            f"forms that are the fastest with all on integers {timed[0]:.2f} ms with {others}"
        )
        return replace(best, plan=best.plan.model_copy(update={"why": why}))

    def _made(self, network: Equalised, plan: TargetPlan | None, less_db: float = 0.0) -> Made:
        """A planned network on integers."""
        judge = Judge(
            network.model,
            list(self.samples)[: self.settings.samples],
            self.settings.keep,
            self.progress,
            twins=network.twins,
            rounds_edges=self.target.runtime in _GIVES_INTEGERS,
        )
        quantised = quantize_judged(judge, self.settings, self.progress, less_db=less_db)
        return Made(quantised, network.model, network.links, judge, plan, less_db)


def timer(planning: Planning) -> Times:
    """Times networks as an export times whole ones."""

    def times(models: Sequence[ir.Model], target: Target) -> list[float]:
        labelled = {str(index): model for index, model in enumerate(models)}
        costs = checker(target, *planning.whole(target), lowering.lower)(labelled)
        return [costs[label].median_ms for label in labelled]

    return times


def _worth(made: Made) -> tuple[float, float]:
    """Less work in float32, then the ratio on samples that ranges were not found on."""
    return -made.quantised.kept_ms, made.quantised.expected_db


class Quantiser:
    """Quantises one network for any number of targets.

    Args:
        model: the composed network; not changed.
        data: samples; None where no target is int8.
        settings: how.
        progress: told about the calibration.
    """

    def __init__(
        self, model: ir.Model, data: Calibration | None, settings: Int8, progress: Progress = SILENT
    ) -> None:
        self.model, self.data, self.settings, self.progress = model, data, settings, progress

    def quantised(self, ways: Sequence[Way], target: Target, times: Times) -> Made | None:
        """A target's planned graph on integers, see :meth:`Quantising.fastest`; None for one of floats."""
        if not target.calibrated or self.data is None:
            return None
        stage = Quantising(self._equalised, self.data.samples, self.settings, target, self.progress)
        return stage.fastest(ways, times)

    @cached_property
    def _equalised(self) -> Equalised | None:
        if self.data is None or not self.settings.equalise:
            return None
        return Equalised.of(self.model, self.data.samples[: self.settings.samples], self.progress)
