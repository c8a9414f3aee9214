"""Parity: a target's outputs against the network evaluated in float64, and where they first part.

An output passes when its largest error, relative to its own scale (the largest absolute value of the
reference), is within the tolerance of the precision, every NaN and infinity is the reference's, and every
integer is the same. Averages are reported and decide nothing: they hide one wrong channel. An output that
rounding alone moves further than that (:mod:`tdedge_exporters.conditioning`) passes with a warning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from tdedge.agreement import TOLERANCES, Agreement, Array, Outputs, agree, doubts, finite_or_none
from tdedge.errors import UsageError
from tdedge_exporters.conditioning import UNIT_ROUNDOFF, rounding_noise
from tdedge_exporters.inputs import load_npz, numpy_type, random_inputs
from tdedge_exporters.reference import Evaluator

__all__ = [
    "TOLERANCES",
    "OutputParity",
    "ParityReport",
    "Reference",
    "check_outputs",
    "compare",
    "load_npz",
    "random_inputs",
    "verify",
]

Run = Callable[[dict[str, Array]], Mapping[str, Array]]
Probe = Callable[[dict[str, Array], Sequence[str]], Mapping[str, Array]]


@dataclass(frozen=True)
class OutputParity(Agreement):
    """:class:`Agreement` of one output and whether it is within the tolerance."""

    passed: bool = False


@dataclass(frozen=True)
class ParityReport:
    """Result of a parity check.

    Attributes:
        precision: of the target.
        tolerance: largest error relative to an output's scale that passes.
        outputs: one per output of the reference.
        warnings: why the check may prove less than it seems to.
        reason: what kept the target from being compared at all ("" where nothing did).
        first_diverging: name of the first tensor that differs, where one was looked for and found.
    """

    precision: str
    tolerance: float
    outputs: tuple[OutputParity, ...]
    warnings: tuple[str, ...] = ()
    reason: str = ""
    first_diverging: str | None = None

    @property
    def passed(self) -> bool:
        """True where every output passed."""
        return not self.reason and bool(self.outputs) and all(output.passed for output in self.outputs)

    @property
    def worst(self) -> OutputParity | None:
        """The output with the largest relative error."""
        return max(self.outputs, key=lambda output: output.max_rel, default=None)

    def summary(self) -> str:
        """One line: what failed, or the largest error."""
        if self.reason:
            return self.reason
        worst = self.worst
        if worst is None:
            return "there is no output to compare"
        if worst.reason:
            return f"output {worst.name!r}: {worst.reason}"
        return (
            f"output {worst.name!r} differs by {worst.max_rel:.1e} of its scale "
            f"({self.precision} tolerance {self.tolerance:.1e})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; null for a figure that is not finite."""
        return {
            "precision": self.precision,
            "tolerance": self.tolerance,
            "passed": self.passed,
            **_worst_figures(self.outputs),
            "reason": self.reason,
            "first_diverging": self.first_diverging,
            "warnings": list(self.warnings),
            "outputs": [output.to_json() for output in self.outputs],
        }


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

    def check(self, run: Run, *, precision: str, tolerance: float | None = None) -> ParityReport:
        """Run a target on every input set and compare.

        Args:
            run: inputs by name to outputs by name.
            precision: of the target; chooses the tolerance.
            tolerance: another one, relative to each output's scale.

        Raises:
            UsageError: for a precision without a tolerance, or a tolerance that is not positive.
        """
        limit = _tolerance(precision, tolerance)
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
        limit = _tolerance(precision, tolerance)
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


def check_outputs(
    expected: Sequence[Outputs],
    actual: Sequence[Outputs],
    *,
    precision: str,
    tolerance: float | None = None,
) -> ParityReport:
    """Compare outputs that were computed already, one mapping per input set.

    Raises:
        UsageError: for a precision without a tolerance, or a tolerance that is not positive.
    """
    limit = _tolerance(precision, tolerance)
    names = list(expected[0])
    for outputs in actual:
        if set(outputs) != set(names):
            reason = f"the target has outputs {sorted(outputs)}, the network {sorted(names)}"
            return ParityReport(precision, limit, (), reason=reason)
    compared, warnings = [], []
    for name in names:
        wanted = [outputs[name] for outputs in expected]
        one = agree(name, wanted, [np.asarray(outputs[name]) for outputs in actual])
        passed = not one.reason and one.max_rel <= limit
        compared.append(OutputParity(**vars(one), passed=passed))
        warnings += doubts(name, wanted, limit)
    return ParityReport(precision, limit, tuple(compared), tuple(warnings))


def compare(expected: Sequence[Outputs], actual: Sequence[Outputs]) -> dict[str, Any]:
    """Distance of two networks' outputs without any verdict, as plain JSON values."""
    outputs = [
        agree(name, [o[name] for o in expected], [o[name] for o in actual])
        for name in expected[0]
        if all(name in o for o in actual)
    ]
    return {**_worst_figures(outputs), "outputs": [output.to_json() for output in outputs]}


def _worst_figures(outputs: Sequence[Agreement]) -> dict[str, float | None]:
    """The largest errors and the smallest signal-to-noise ratio of all outputs."""
    ratios = [output.sqnr_db for output in outputs if output.sqnr_db is not None]
    return {
        "max_abs": finite_or_none(max((output.max_abs for output in outputs), default=math.nan)),
        "max_rel": finite_or_none(max((output.max_rel for output in outputs), default=math.nan)),
        "sqnr_db": min(ratios, default=None),
    }


def _tolerance(precision: str, tolerance: float | None) -> float:
    if tolerance is None:
        if precision not in TOLERANCES:
            raise UsageError(
                f"precision {precision!r} has no default tolerance (only {', '.join(TOLERANCES)} have); "
                "pass --tolerance"
            )
        return TOLERANCES[precision]
    if not 0 < tolerance < math.inf:
        raise UsageError(f"tolerance {tolerance} must be positive; 1e-4 means 0.01 % of an output's scale")
    return tolerance
