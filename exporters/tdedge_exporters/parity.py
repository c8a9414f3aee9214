"""Verdicts on outputs that were computed: one report per target, by a tolerance or by signal to noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tdedge.agreement import (
    SQNR_FLOORS,
    TOLERANCES,
    Agreement,
    Outputs,
    agree,
    doubts,
    finite_or_none,
    within,
)
from tdedge.errors import UsageError


@dataclass(frozen=True)
class OutputParity(Agreement):
    """:class:`Agreement` of one output and whether it is within the tolerance."""

    passed: bool = False


@dataclass(frozen=True)
class ParityReport:
    """Result of a parity check.

    Attributes:
        precision: of the target.
        tolerance: largest error relative to an output's scale that passes; None where the ratio decides.
        outputs: one per output of the reference.
        warnings: why the check may prove less than it seems to.
        reason: what kept the target from being compared at all ("" where nothing did).
        first_diverging: name of the first tensor that differs, where one was looked for and found.
        min_sqnr_db: smallest signal-to-noise ratio that passes; None where the tolerance decides.
    """

    precision: str
    tolerance: float | None
    outputs: tuple[OutputParity, ...]
    warnings: tuple[str, ...] = ()
    reason: str = ""
    first_diverging: str | None = None
    min_sqnr_db: float | None = None

    @property
    def passed(self) -> bool:
        """True where every output passed."""
        return not self.reason and bool(self.outputs) and all(output.passed for output in self.outputs)

    @property
    def worst(self) -> OutputParity | None:
        """The output with the largest relative error, or the smallest ratio where that decides."""
        if self.min_sqnr_db is None:
            return max(self.outputs, key=lambda output: output.max_rel, default=None)
        return min(self.outputs, key=lambda output: (output.passed, _ratio(output)), default=None)

    def summary(self) -> str:
        """One line: what failed, or the largest error."""
        if self.reason:
            return self.reason
        worst = self.worst
        if worst is None:
            return "there is no output to compare"
        if worst.reason:
            return f"output {worst.name!r}: {worst.reason}"
        if self.min_sqnr_db is not None:
            return (
                f"output {worst.name!r} has {_ratio(worst):.1f} dB of signal to noise "
                f"({self.precision} floor {self.min_sqnr_db:.1f} dB)"
            )
        return (
            f"output {worst.name!r} differs by {worst.max_rel:.1e} of its scale "
            f"({self.precision} tolerance {self.tolerance:.1e})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; null for a figure that is not finite."""
        return {
            "precision": self.precision,
            "tolerance": self.tolerance,
            "min_sqnr_db": self.min_sqnr_db,
            "passed": self.passed,
            **_worst_figures(self.outputs),
            "reason": self.reason,
            "first_diverging": self.first_diverging,
            "warnings": list(self.warnings),
            "outputs": [output.to_json() for output in self.outputs],
        }


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
    return _compared(expected, actual, ParityReport(precision, tolerance_of(precision, tolerance), ()))


def check_quality(
    expected: Sequence[Outputs],
    actual: Sequence[Outputs],
    min_sqnr_db: float | None = None,
    *,
    precision: str = "int8",
) -> ParityReport:
    """Compare the outputs of a target of 8 bits: the signal-to-noise ratio of every float output decides.

    Args:
        expected: the reference, one mapping per input set; data like that it was calibrated on.
        actual: the target's outputs.
        min_sqnr_db: the floor; that of the precision where not given.
        precision: of the target.

    Raises:
        UsageError: a precision without a floor, or one that is no number.
    """
    floor = quality_floor(precision, None, min_sqnr_db)
    return _compared(expected, actual, ParityReport(precision, None, (), min_sqnr_db=floor))


def _compared(expected: Sequence[Outputs], actual: Sequence[Outputs], empty: ParityReport) -> ParityReport:
    """The report with every output, judged by its own limits."""
    names = list(expected[0])
    for outputs in actual:
        if set(outputs) != set(names):
            reason = f"the target has outputs {sorted(outputs)}, the network {sorted(names)}"
            return replace(empty, reason=reason)
    still = TOLERANCES["float32"] if empty.tolerance is None else empty.tolerance
    compared, warnings = [], []
    for name in names:
        wanted = [outputs[name] for outputs in expected]
        one = agree(name, wanted, [np.asarray(outputs[name]) for outputs in actual])
        passed = within(one, empty.tolerance, empty.min_sqnr_db)
        compared.append(OutputParity(**vars(one), passed=passed))
        warnings += doubts(name, wanted, still)
        if passed and one.reason:
            warnings.append(f"output {name!r}: {one.reason}; their noise has no measure")
    return replace(empty, outputs=tuple(compared), warnings=tuple(warnings))


def compare(expected: Sequence[Outputs], actual: Sequence[Outputs]) -> dict[str, Any]:
    """Distance of two networks' outputs without any verdict, as plain JSON values."""
    outputs = [
        agree(name, [o[name] for o in expected], [o[name] for o in actual])
        for name in expected[0]
        if all(name in o for o in actual)
    ]
    return {**_worst_figures(outputs), "outputs": [output.to_json() for output in outputs]}


def _ratio(output: Agreement) -> float:
    """Signal-to-noise ratio; infinite without noise, minus infinity where nothing but noise is there."""
    if output.sqnr_db is not None:
        return output.sqnr_db
    return math.inf if output.max_abs == 0 else -math.inf


def _worst_figures(outputs: Sequence[Agreement]) -> dict[str, float | None]:
    """The largest errors and the smallest signal-to-noise ratio of all outputs."""
    ratios = [output.sqnr_db for output in outputs if output.sqnr_db is not None]
    return {
        "max_abs": finite_or_none(max((output.max_abs for output in outputs), default=math.nan)),
        "max_rel": finite_or_none(max((output.max_rel for output in outputs), default=math.nan)),
        "sqnr_db": min(ratios, default=None),
    }


def quality_floor(precision: str, tolerance: float | None, min_sqnr_db: float | None) -> float:
    """The floor of a precision of 8 bits.

    Raises:
        UsageError: a tolerance was given, the precision has no floor, or the floor is no number.
    """
    if tolerance is not None:
        raise UsageError(
            f"a tolerance is for floats; {precision} is judged by its signal-to-noise ratio, give --min-sqnr"
        )
    if precision not in SQNR_FLOORS:
        raise UsageError(f"precision {precision!r} has no floor; {', '.join(SQNR_FLOORS)} have")
    if min_sqnr_db is None:
        return SQNR_FLOORS[precision]
    if not math.isfinite(min_sqnr_db):
        raise UsageError(f"a signal-to-noise ratio of {min_sqnr_db} dB; expected a number such as 30")
    return min_sqnr_db


def tolerance_of(precision: str, tolerance: float | None) -> float:
    """The tolerance of a precision, unless another one is given.

    Raises:
        UsageError: a precision without a tolerance, or a tolerance that is not positive.
    """
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
