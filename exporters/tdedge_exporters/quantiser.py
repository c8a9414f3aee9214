"""The int8 stage of an export: each target's planned graph on integers, equalised where that gains.

The network is equalised once, which changes no output. Which of the two rounds better shows only in the forms
that a target executes, so the plan, made for shapes and not for weights, is applied to both, both are
quantised, and the one with the better signal-to-noise ratio on calibration data that ranges were not found on
is kept; where products may stay float32 for a ratio that is asked for, the one where they take less time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from tdedge.progress import SILENT, Progress
from tdedge_exporters.calibration import Calibration
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.plan import TargetPlan, replay
from tdedge_exporters.quantize.equalise import equalised
from tdedge_exporters.quantize.grids import Array
from tdedge_exporters.quantize.quantize import Quantised, quantize
from tdedge_exporters.quantize.settings import Int8


@dataclass(frozen=True)
class Made:
    """A target's graph on integers.

    Attributes:
        quantised: the graph, and what rounding cost.
        source: the float32 graph it was made of.
        links: how many of its links were rescaled.
    """

    quantised: Quantised
    source: ir.Model
    links: int


@dataclass(frozen=True)
class Equalised:
    """A network with its links rescaled.

    Attributes:
        model: the network, not planned.
        links: how many were.
    """

    model: ir.Model
    links: int

    @classmethod
    def of(
        cls, model: ir.Model, samples: Sequence[Mapping[str, Array]], progress: Progress = SILENT
    ) -> Equalised:
        """A copy of ``model``, its links rescaled on calibration data."""
        made, rescaled = equalised(model, samples, progress)
        return cls(made, len(rescaled))


def better(
    planned: ir.Model,
    plan: TargetPlan | None,
    other: Equalised | None,
    samples: Sequence[Mapping[str, Array]],
    settings: Int8,
    progress: Progress = SILENT,
) -> Made:
    """A planned graph on integers, or its equalised twin where that is better.

    Args:
        planned: float32, in the forms of ``plan``.
        plan: of the network as it came; None where it was not planned.
        other: the same network equalised; None to leave its channels as they are.
        samples: calibration data, one feed each.
        settings: how both are quantised.
        progress: told about the calibration.

    Raises:
        UsageError: no samples, a node to keep that does not exist, or tensors that are not finite.
    """
    plain = Made(quantize(planned, samples, settings, progress), planned, 0)
    if other is None or not other.links:
        return plain
    twin = other.model if plan is None else replay(other.model, plan)
    return max(plain, Made(quantize(twin, samples, settings, progress), twin, other.links), key=_worth)


def _worth(made: Made) -> tuple[float, float]:
    """Less work in float32, then the ratio on samples that ranges were not found on, if known."""
    report, ratio = made.quantised.report, made.quantised.expected_db
    if ratio is None:
        ratio = math.inf if report.sqnr_db is None else report.sqnr_db
    return -made.quantised.kept_ms, ratio


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

    def quantised(self, planned: ir.Model, plan: TargetPlan | None, target: Target) -> Made | None:
        """A target's planned graph on integers; None for a target of floats."""
        if not target.calibrated or self.data is None:
            return None
        return better(planned, plan, self._equalised, self.data.samples, self.settings, self.progress)

    @cached_property
    def _equalised(self) -> Equalised | None:
        if self.data is None or not self.settings.equalise:
            return None
        return Equalised.of(self.model, self.data.samples, self.progress)
