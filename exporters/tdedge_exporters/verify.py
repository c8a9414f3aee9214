"""Parity: a target's outputs against the network evaluated in float64, and where they first part.

An output passes when its largest error, relative to its own scale (the largest absolute value of the
reference), is within the tolerance of the precision, every NaN and infinity is the reference's, and every
integer is the same. Averages are reported and decide nothing: they hide one wrong channel. An output that
rounding alone moves further than that (:mod:`tdedge_exporters.conditioning`) passes with a warning.

Targets that are rounded to 8 bits are not held to a largest error but to a smallest signal-to-noise ratio of
every float output (:data:`tdedge.agreement.SQNR_FLOORS`), on data like that they were calibrated on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import onnx_ir as ir

from tdedge.agreement import SQNR_FLOORS, TOLERANCES, Array, agree
from tdedge.errors import UsageError
from tdedge_exporters.conditioning import UNIT_ROUNDOFF, rounding_noise
from tdedge_exporters.inputs import load_npz, numpy_type, random_inputs
from tdedge_exporters.parity import (
    OutputParity,
    ParityReport,
    check_outputs,
    check_quality,
    compare,
    quality_floor,
    tolerance_of,
)
from tdedge_exporters.reference import Evaluator

__all__ = [
    "SQNR_FLOORS",
    "TOLERANCES",
    "OutputParity",
    "ParityReport",
    "Reference",
    "check_outputs",
    "check_quality",
    "compare",
    "load_npz",
    "random_inputs",
    "verify",
]

Run = Callable[[dict[str, Array]], Mapping[str, Array]]
Probe = Callable[[dict[str, Array], Sequence[str]], Mapping[str, Array]]


class Reference:
    """A network's outputs in float64 for given inputs: computed once, compared with any number of targets.

    Attributes:
        model: the network; must not be changed afterwards.
        inputs: the input sets.
    """

    def __init__(self, model: ir.Model, inputs: Sequence[Mapping[str, Array]]) -> None:
        if not inputs:
            raise UsageError("a parity check needs at least one set of inputs")
        self.model = model
        self.inputs = [dict(feed) for feed in inputs]
        self._evaluator = Evaluator(model)

    @cached_property
    def outputs(self) -> list[dict[str, Array]]:
        """Outputs of every input set; floats in float64."""
        return [self._evaluator.run(feed) for feed in self.inputs]

    def outputs_as_declared(self, index: int) -> dict[str, Array]:
        """Outputs of one input set in the element types the network declares."""
        types = {value.name: numpy_type(value) for value in self.model.graph.outputs}
        return {name: value.astype(types[name]) for name, value in self.outputs[index].items()}

    def check(
        self,
        run: Run,
        *,
        precision: str,
        tolerance: float | None = None,
        min_sqnr_db: float | None = None,
    ) -> ParityReport:
        """Run a target on every input set and compare.

        Args:
            run: inputs by name to outputs by name.
            precision: of the target; chooses the tolerance, or the floor of the signal-to-noise ratio.
            tolerance: another one, relative to each output's scale.
            min_sqnr_db: another floor.

        Raises:
            UsageError: for a precision without a tolerance, or a limit that is not one of this precision.
        """
        if precision in SQNR_FLOORS:
            floor = quality_floor(precision, tolerance, min_sqnr_db)
            actual = [dict(run(dict(feed))) for feed in self.inputs]
            return check_quality(self.outputs, actual, floor, precision=precision)
        limit = tolerance_of(precision, tolerance)
        actual = [dict(run(dict(feed))) for feed in self.inputs]
        report = check_outputs(self.outputs, actual, precision=precision, tolerance=limit)
        return report if report.passed or report.reason else self._allow_rounding(report)

    def _allow_rounding(self, report: ParityReport) -> ParityReport:
        """Pass, with a warning, what differs by no more than twice what one rounding run moves it.

        Only outputs that rounding moves by more than the precision's own tolerance, whatever tolerance was
        asked for: a sound network is never among them.
        """
        least = TOLERANCES.get(report.precision)
        if least is None or report.precision not in UNIT_ROUNDOFF:
            return report
        noise = rounding_noise(self.model, self.inputs, self.outputs, report.precision)
        excused = {
            output.name: noise[output.name]
            for output in report.outputs
            if not output.passed and not output.reason and least < noise[output.name] >= output.max_rel / 2
        }
        outputs = tuple(replace(o, passed=True) if o.name in excused else o for o in report.outputs)
        warnings = tuple(
            f"output {name!r} is not determined in {report.precision}: rounding alone moves it by {move:.1e} "
            "of its scale; a parity check on it proves nothing"
            for name, move in excused.items()
        )
        return replace(report, outputs=outputs, warnings=(*report.warnings, *warnings))

    def first_diverging(
        self, probe: Probe, *, precision: str = "float32", tolerance: float | None = None
    ) -> str | None:
        """Name of the first tensor, in execution order, that the target computes differently.

        Args:
            probe: (inputs, names) to the values of those named tensors that the target still has.
            precision: of the target; chooses the tolerance.
            tolerance: another one, relative to each tensor's scale.

        Returns:
            The name; None where every tensor that both have agrees.
        """
        limit = tolerance_of(precision, tolerance)
        order = [value.name for node in self.model.graph for value in node.outputs if value.name]
        for feed in self.inputs:
            wanted = self._evaluator.run(feed, intermediates=True)
            names = [name for name in order if name in wanted]
            got = probe(dict(feed), names)
            for name in names:
                if name not in got or got[name].shape != wanted[name].shape:
                    continue
                agreement = agree(name, [wanted[name]], [np.asarray(got[name])])
                if agreement.reason or agreement.max_rel > limit:
                    return name
        return None


def verify(
    reference: ir.Model,
    run: Run,
    inputs: Sequence[Mapping[str, Array]],
    *,
    precision: str = "float32",
    tolerance: float | None = None,
    probe: Probe | None = None,
) -> ParityReport:
    """Compare one target with ``reference``; on failure ``probe`` helps to name the first wrong tensor.

    Raises:
        UsageError: when the inputs do not fit the network or the precision has no tolerance.
    """
    known = Reference(reference, inputs)
    report = known.check(run, precision=precision, tolerance=tolerance)
    if report.passed or probe is None:
        return report
    first = known.first_diverging(probe, precision=precision, tolerance=tolerance)
    return replace(report, first_diverging=first)
