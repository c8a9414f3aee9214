"""Minimal filtering: m neighbouring outputs of a filter of r taps with n = m + r - 1 products, not m r.

For stride and dilation 1, with exact rational matrices A (m, n), G (n, r) and B (n, n)::

    y_i = sum_k g_k d_(i+k) = sum_j A[i, j] (sum_k G[j, k] g_k) (sum_q B[j, q] d_q)        0 <= i < m

for every g and d: a polynomial product evaluated at n - 1 points and infinity, transposed (Toom-Cook). Where
``d_q`` are frames and ``g_k`` kernels over space, each product is a convolution, and the sums on both sides
are cheap beside it. Rounding grows with the points, so that only few products are offered: 0, 1, -1 and
infinity for n = 4, also 2 and -2 for n = 6.

Source: Winograd 1980, "Arithmetic complexity of computations"; Lavin, Gray 2016, "Fast algorithms for
convolutional neural networks" (arXiv 1509.09308), for the name F(m, r).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx_ir as ir

from tdedge.factor import Array, Factor, Shape
from tdedge_exporters.planner.emitter import Emitter

#: Points beside infinity, by the number of products. Pairs of opposite points stand side by side.
_POINTS = {4: (0, 1, -1), 6: (0, 1, -1, 2, -2)}

#: Outputs per block that are offered.
OUTPUTS = (2, 4)
#: The product at point 1, which every output contains once: a bias added to it is added to all.
EVERYWHERE = 1

#: A value times a number, or nothing but zeros.
Scaled = tuple[ir.Value, float] | None


@dataclass(frozen=True)
class Filtering:
    """F(m, r).

    Attributes:
        gather: A, (m, n): from products to outputs.
        kernels: G, (n, r): from taps to the kernels of the products.
        spread: B, (n, n): from inputs to what the products multiply.
    """

    gather: Array
    kernels: Array
    spread: Array

    @property
    def share(self) -> float:
        """Its products over those of the filter as it is."""
        return self.products / (self.outputs * len(self.kernels[0]))

    @property
    def outputs(self) -> int:
        """How many outputs: m."""
        return len(self.gather)

    @property
    def products(self) -> int:
        """How many products: n."""
        return len(self.kernels)


@cache
def filtering(outputs: int, taps: int) -> Filtering | None:
    """F(outputs, taps); None where there is nothing to gain, or too many products to keep float32's accuracy.

    Args:
        outputs: m.
        taps: r.
    """
    count = outputs + taps - 1
    points = _POINTS.get(count)
    if points is None or min(outputs, taps) < 2:
        return None
    others = [[other for other in points if other != point] for point in points]
    powers = [[float(point) ** i for point in points] for i in range(outputs)]
    gather = [[*row, float(i == outputs - 1)] for i, row in enumerate(powers)]
    scales = [np.prod([point - other for other in rest]) for point, rest in zip(points, others, strict=True)]
    kernels = [[point**k / scale for k in range(taps)] for point, scale in zip(points, scales, strict=True)]
    last = [float(k == taps - 1) for k in range(taps)]
    rows = [_polynomial(rest, count) for rest in [*others, list(points)]]
    return Filtering(np.array(gather), np.array([*kernels, last]), np.array(rows))


def spread(e: Emitter, plan: Filtering, inputs: Sequence[ir.Value | None]) -> list[Scaled]:
    """What the products multiply: B d.

    Args:
        e: where the nodes go.
        plan: F(m, r).
        inputs: d, n values of one shape; None is zeros.
    """
    rows = plan.spread
    found = [_total(e, rows[0], inputs)]
    for at in range(1, plan.products - 1, 2):  # opposite points: what both have, plus and minus what differs
        both = _total(e, (rows[at] + rows[at + 1]) / 2, inputs)
        apart = _total(e, (rows[at] - rows[at + 1]) / 2, inputs)
        if apart is None:
            found += [both, both]
        elif both is None:
            found += [apart, (apart[0], -apart[1])]
        else:
            (first, scale), (second, other) = both, apart
            second = _times(e, second, abs(other / scale))
            signs = ("Add", "Sub") if other / scale > 0 else ("Sub", "Add")
            found += [(e.binary(sign, first, second), scale) for sign in signs]
    return [*found, _total(e, rows[-1], inputs)]


def gather(e: Emitter, plan: Filtering, products: Sequence[ir.Value | None]) -> list[ir.Value]:
    """The outputs: A times the products, n values of one shape; None is zeros, but not all are."""
    found = list(products[:1]) + list(products[-1:])
    pairs = [(products[at], products[at + 1]) for at in range(1, plan.products - 1, 2)]
    sums = [first and second and e.binary("Add", first, second) for first, second in pairs]
    differences = [first and second and e.binary("Sub", first, second) for first, second in pairs]
    outputs = []
    for row in range(plan.outputs):
        halves = differences if row % 2 else sums
        weights = [plan.gather[row, 0], *plan.gather[row, 1:-1:2], plan.gather[row, -1]]
        total = _total(e, weights, [found[0], *halves, found[1]])
        assert total is not None
        outputs.append(_times(e, *total))
    return outputs


def _total(e: Emitter, weights: Sequence[float] | Array, values: Sequence[ir.Value | None]) -> Scaled:
    """The weighted sum, as a sum over what most of the weights have in common."""
    terms = [(float(w), v) for w, v in zip(weights, values, strict=True) if w and v is not None]
    if not terms:
        return None
    sizes = [abs(weight) for weight, _ in terms]
    common = max(sorted(sizes), key=sizes.count)
    scale = next(weight for weight, _ in terms if abs(weight) == common)
    terms.sort(key=lambda term: term[0] != scale)
    _, total = terms[0]
    for weight, value in terms[1:]:
        part = _times(e, value, abs(weight / scale))
        total = e.binary("Add" if weight / scale > 0 else "Sub", total, part)
    return total, scale


def _times(e: Emitter, value: ir.Value, factor: float) -> ir.Value:
    return value if factor == 1 else e.binary("Mul", value, e.number(factor, value))


def filterings(factor: Factor, shape: Shape) -> list[Filtering]:
    """Minimal filterings for the time taps of a factor of three axes; none where it has groups.

    A depthwise product costs no more than what is added up for it.
    """
    taps, (begin, end) = factor.kernel_size[0], factor.pads[0]
    if factor.groups > 1 or (factor.stride[0], factor.dilation[0]) != (1, 1) or max(begin, end) >= taps:
        return []
    plans = [filtering(outputs, taps) for outputs in OUTPUTS if outputs <= factor.output_shape(shape)[2]]
    return [plan for plan in plans if plan is not None]


def _polynomial(roots: Sequence[int], size: int) -> Array:
    """Coefficients of the monic polynomial with these roots, the constant first, padded with zeros."""
    found = np.ones(1)
    for root in roots:
        found = np.convolve(found, [-root, 1.0])
    return np.pad(found, (0, size - len(found)))
