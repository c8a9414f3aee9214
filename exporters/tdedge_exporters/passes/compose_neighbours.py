"""Neighbouring factors of a chain as one factor, where that saves multiply-accumulates.

    second(first(x)) = composed(x)         algebra and conditions: :mod:`tdedge.compose`

Every way to cut a chain into segments is considered by dynamic programming over the cuts; a segment that
cannot be composed exactly is never used. The least number of multiply-accumulates wins, then the least
number of factors; a chain is rewritten only where one of the two falls. Weights are composed in float64
and stored in the old element type. A factor whose kernel other nodes share is left alone, as are links that
other nodes read or that are graph outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tdedge.chain import Chain
from tdedge.compose import NotExactError, compose
from tdedge.factor import Factor
from tdedge_exporters.chains import ChainSite, shared_weight, survey, write_chain
from tdedge_exporters.passes.record import RecordingPass

#: A composed kernel of more elements is not considered.
MAX_ELEMENTS = 2**26


@dataclass(frozen=True)
class _Cut:
    """The best way found to compute a chain's first factors: cost and the segments' ends."""

    macs: int
    stops: tuple[int, ...]

    @property
    def cost(self) -> tuple[int, int]:
        return self.macs, len(self.stops)


class ComposeNeighboursPass(RecordingPass):
    """Compose neighbours of every chain where exact and cheaper."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every chain of two factors and more."""
        found = survey(model)
        for name, reason in found.refusals:
            self.record(name, False, reason)
        modified = False
        for site in found.chains:
            if len(site.parts) > 1:
                modified |= self._rewrite(model, site)
        return ir.passes.PassResult(model, modified)

    def _rewrite(self, model: ir.Model, site: ChainSite) -> bool:
        cut, reasons = best_cut(site)
        for index, reason in reasons.items():
            self.record(site.parts[index].name, False, reason)
        merged = [(start, stop) for start, stop in _pairs(cut.stops) if stop - start > 1]
        for start, stop in merged:
            segment = site.segment(start, stop)
            whole = segment.chain.astype(np.float64).dense()
            names = [part.name for part in segment.parts]
            before, after = segment.chain.macs(segment.input_shape), whole.macs(segment.input_shape)
            write_chain(model, segment, Chain((whole,)), name=names[-1])
            self.record(names[-1], True, f"composed {', '.join(names)}: {before:,} -> {after:,} MACs")
        return bool(merged)


def best_cut(site: ChainSite) -> tuple[_Cut, dict[int, str]]:
    """The cheapest exact segmentation, and for each factor why it was not composed with the one before it."""
    factors = site.chain.factors
    shapes = site.chain.shapes(site.input_shape)
    reasons: dict[int, str] = {}
    segments = {(start, start + 1): factor for start, factor in enumerate(factors)}
    for length in range(2, len(factors) + 1):
        for start in range(len(factors) - length + 1):
            _extend(segments, site, start, start + length, reasons)
    best = [_Cut(0, ())]
    for stop in range(1, len(factors) + 1):
        options = [
            _Cut(best[start].macs + factor.macs(shapes[start]), (*best[start].stops, stop))
            for start in range(stop)
            if (factor := segments.get((start, stop))) is not None
        ]
        best.append(min(options, key=lambda cut: cut.cost))
    inner = {index for start, stop in _pairs(best[-1].stops) for index in range(start + 1, stop)}
    for index in range(1, len(factors)):
        if index not in inner and index not in reasons:
            reasons[index] = "composing it with the factor before it does not save multiply-accumulates"
    return best[-1], {index: reason for index, reason in reasons.items() if index not in inner}


def _pairs(stops: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip((0, *stops[:-1]), stops, strict=True))


def _extend(
    segments: dict[tuple[int, int], Factor], site: ChainSite, start: int, stop: int, reasons: dict[int, str]
) -> None:
    """Compose factors ``start`` to ``stop - 1``, or note at the last one why that is not exact."""
    first, second = segments.get((start, stop - 1)), segments.get((stop - 1, stop))
    if first is None or second is None:
        return
    try:
        for part in site.parts[start:stop]:
            if (name := shared_weight(part)) is not None:
                raise NotExactError(f"the weight {name!r} of {part.name} is shared with other nodes")
        if first.activation is None:
            _require_small(first, second)
        segments[start, stop] = compose(first, second)
    except NotExactError as refusal:
        reasons.setdefault(stop - 1, refusal.message)


def _require_small(first: Factor, second: Factor) -> None:
    reach = [
        (k1 - 1) * d1 + (k2 - 1) * s1 * d2 + 1
        for k1, d1, s1, k2, d2 in zip(
            first.kernel_size,
            first.dilation,
            first.stride,
            second.kernel_size,
            second.dilation,
            strict=True,
        )
    ]
    groups = math.gcd(first.groups, second.groups)
    elements = second.out_channels * (first.in_channels // groups) * math.prod(reach)
    if elements > MAX_ELEMENTS:
        raise NotExactError(f"the composed kernel would have up to {elements:,} elements")
