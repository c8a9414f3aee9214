"""How far two lists of outputs are apart, output by output; the arithmetic below every parity report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Outputs = Mapping[str, Array]

#: Largest error relative to an output's scale, by the precision of the target.
#:
#: float32 rounds at 6e-8; sums of thousands of products in another order through tens of layers stay
#: below 1e-5 of the scale, a wrong tap or a lost bias does not. float16 rounds every weight at 5e-4 of its
#: size (half a unit in the last of 11 bits, 2^-11); some fifty layers of independent errors grow like their
#: square root to about 4e-3, and the largest of many outputs is several times the typical one: 2e-2. bfloat16
#: rounds weights and activations at 4e-3 (2^-8), which grows to 3e-2 in the same way: 1e-1.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}

#: Smallest signal-to-noise ratio of an output in decibel, by the precision of a target on whole numbers. No
#: largest error is asked for there: 8 bits round every value at 0.2 % of its tensor's range.
#:
#: int8: quantised CNNs lie at 25 to 40 dB. A lost channel, a wrong zero point, a scale that is used twice
#: leave less than 15; 20 dB (noise of a tenth of the signal) stands between the two. It keeps broken files
#: out and says nothing about accuracy. Weights alone: every channel is rounded at 1/254 of its largest
#: weight, some 45 dB per layer, and activations are exact; fifty layers leave 27 to 33.
SQNR_FLOORS = {"int8": 20.0, "int8-weights": 25.0}

#: What an 8-bit target may lose on the golden inputs against its export, in decibel.
SLACK_DB = 1.0

#: Outputs this small throughout are more likely dead than meant.
NEAR_ZERO = 1e-6


@dataclass(frozen=True)
class Agreement:
    """Distance of one output to its reference, over all input sets together.

    Attributes:
        name: of the output.
        max_abs: largest absolute difference.
        max_rel: ``max_abs / scale``.
        scale: largest absolute value of the reference.
        sqnr_db: signal-to-noise ratio ``10 log10(sum ref^2 / sum error^2)``; None without any noise.
        top1_agreement: share of positions where the largest entry along axis 1 (the classes) is the same,
            ties of the reference in float32 counted as agreement; None where there are no classes.
        reason: why the values cannot be equal whatever the tolerance ("" where they can).
    """

    name: str
    max_abs: float
    max_rel: float
    scale: float
    sqnr_db: float | None
    top1_agreement: float | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; null for a figure that is not finite."""
        return {k: finite_or_none(v) if isinstance(v, float) else v for k, v in asdict(self).items()}


def within(one: Agreement, tolerance: float | None, min_sqnr_db: float | None = None) -> bool:
    """Whether an output passes.

    Args:
        one: the output.
        tolerance: largest error relative to its scale; None where the ratio decides.
        min_sqnr_db: smallest signal-to-noise ratio. Whole numbers are not judged by it: classes and order
            may change with the noise that it allows.
    """
    if min_sqnr_db is None:
        return not one.reason and tolerance is not None and one.max_rel <= tolerance
    if one.reason:
        return math.isfinite(one.max_abs)  # integers of the right kind and shape that differ
    return one.max_abs == 0 or (one.sqnr_db is not None and one.sqnr_db >= min_sqnr_db)


def golden_floor(precision: str, parity: Mapping[str, Any]) -> float | None:
    """Signal-to-noise ratio that an 8-bit target of an artifact must reach on the golden inputs; else None.

    The golden inputs are one sample of those that the export judged together, and may lie below its floor
    alone; other processors round some sums otherwise.

    Args:
        precision: of the target.
        parity: what the manifest says of it.
    """
    if precision not in SQNR_FLOORS:
        return None
    asked, found = parity.get("min_sqnr_db"), parity.get("golden_sqnr_db")
    floor = SQNR_FLOORS[precision] if asked is None else float(asked)
    return floor if found is None else min(floor, float(found) - SLACK_DB)


def finite_or_none(value: float | None) -> float | None:
    """JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None


def agree(name: str, expected: Sequence[Array], actual: Sequence[Array]) -> Agreement:
    """Compare one output over all input sets; shapes are compared set by set."""
    for wanted, got in zip(expected, actual, strict=True):
        if wanted.shape != got.shape:
            return _unequal(name, f"shape {got.shape}, expected {wanted.shape}")
        if (problem := _kind_problem(wanted.dtype, got.dtype)) is not None:
            return _unequal(name, problem)
    reference = np.concatenate([np.asarray(value, np.float64).ravel() for value in expected])
    target = np.concatenate([np.asarray(value, np.float64).ravel() for value in actual])
    finite = np.isfinite(reference) & np.isfinite(target)
    odd = ~finite
    if not np.array_equal(reference[odd], target[odd], equal_nan=True):
        count = int(odd.sum())
        return _unequal(name, f"{count} of {odd.size} values are NaN or infinite and differ")
    signal = reference[finite]
    error = np.abs(target[finite] - signal)
    max_abs, scale = float(error.max(initial=0.0)), float(np.abs(signal).max(initial=0.0))
    reason = ""
    if max_abs and not np.issubdtype(actual[0].dtype, np.floating):
        reason = f"{int((error > 0).sum())} of {error.size} integers differ"
    return Agreement(
        name=name,
        max_abs=max_abs,
        max_rel=_ratio(max_abs, scale),
        scale=scale,
        sqnr_db=_sqnr(signal, error),
        top1_agreement=_top1(expected, actual, scale),
        reason=reason,
    )


def doubts(name: str, expected: Sequence[Array], tolerance: float) -> list[str]:
    """Why a check of this output says little: it would pass for (nearly) any network.

    Args:
        name: of the output.
        expected: the reference, one array per input set.
        tolerance: largest error relative to the scale that passes.
    """
    values = [np.asarray(value, np.float64) for value in expected]
    flat = np.concatenate([value.ravel() for value in values])
    flat = flat[np.isfinite(flat)]
    scale = float(np.abs(flat).max(initial=0.0))
    found = []
    if scale < NEAR_ZERO:
        found.append(f"reference output {name!r} is near zero (largest value {scale:.1e})")
    if flat.size > 1 and float(np.ptp(flat)) <= tolerance * scale:
        found.append(f"reference output {name!r} is constant")
    elif len(values) > 1 and _same(values, tolerance * scale):
        found.append(f"reference output {name!r} does not depend on the input")
    return [f"{doubt}; a parity check on it proves nothing" for doubt in found]


def _same(values: Sequence[Array], gap: float) -> bool:
    first = values[0]
    return all(v.shape == first.shape and np.allclose(v, first, 0, gap, equal_nan=True) for v in values[1:])


def _unequal(name: str, reason: str) -> Agreement:
    return Agreement(name, math.inf, math.inf, math.nan, None, None, reason)


def _kind_problem(wanted: np.dtype[Any], got: np.dtype[Any]) -> str | None:
    """A reference in float64 stands for any float; integers may differ in width, not in kind."""
    kinds = {"i": "integer", "u": "integer", "b": "bool"}
    if kinds.get(wanted.kind, wanted.kind) == kinds.get(got.kind, got.kind):
        return None
    return f"element type {got}, expected {wanted}"


def _ratio(gap: float, scale: float) -> float:
    return gap / scale if scale else (math.inf if gap else 0.0)


def _sqnr(signal: Array, error: Array) -> float | None:
    noise, power = float(np.sum(error**2)), float(np.sum(signal**2))
    return 10 * math.log10(power / noise) if noise and power else None


def _top1(expected: Sequence[Array], actual: Sequence[Array], scale: float) -> float | None:
    tie = 4 * float(np.finfo(np.float32).eps) * scale
    hits = []
    for wanted, got in zip(expected, actual, strict=True):
        if wanted.ndim < 2 or wanted.shape[1] < 2 or not wanted.size:
            return None
        wanted = np.asarray(wanted, np.float64)
        chosen = np.take_along_axis(wanted, np.argmax(got, axis=1, keepdims=True), axis=1)
        hits.append((chosen >= wanted.max(axis=1, keepdims=True) - tie).ravel())
    return float(np.mean(np.concatenate(hits)))
