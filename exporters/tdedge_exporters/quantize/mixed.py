"""Mixed precision: which products stay float32 so that the outputs have the signal-to-noise ratio asked for.

Rounding errors of different products are nearly independent: their energies add up at the outputs. What a
product adds is seen with it alone on integers; what float32 costs is its time by the roofline model. Those
that miss the ratio by themselves stay float32, then those that add the most noise for the time they would
save; bisection on the outputs' own ratio finds how many, and what noise is then to spare lets the slowest of
them go back to the integers. In large networks stretches of neighbours stay
together: each border between integers and float32 costs a conversion and, on the way to integers, a rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from tdedge.progress import SILENT, Progress, track
from tdedge_exporters import graph as g
from tdedge_exporters.planner.roofline import Roofline

#: Stretches of a network at most. ResNet-18 as Tucker chains (56 products) at 35 dB was 6 to 7 % faster with
#: 19 than with 56, in ONNX Runtime and LiteRT.
MOST_STRETCHES = 20
_MOST_TRIES = 3  # to give stretches back
#: A core of today; only the ratio of the two rates matters.
_CORE = Roofline(peak_gflops=100.0, bandwidth_gbs=25.0)


@dataclass(frozen=True)
class Stretch:
    """Neighbouring products that stay float32 together or not.

    Attributes:
        names: of the products.
        alone_db: signal-to-noise ratio of the outputs with these alone on integers; infinite without noise.
        float_ms: what they take in float32 by the roofline model.
    """

    names: tuple[str, ...]
    alone_db: float
    float_ms: float

    @property
    def noise_per_ms(self) -> float:
        """Energy of the error over that of the outputs, for a millisecond."""
        return _noise(self.alone_db) / max(self.float_ms, 1e-12)


def stretches(
    model: ir.Model,
    products: Sequence[str],
    alone_db: Callable[[Sequence[str]], float],
    least_db: float,
    progress: Progress = SILENT,
) -> list[Stretch]:
    """All products of a graph in stretches, those first that should be the first to stay float32.

    Args:
        model: float32.
        products: names of its products, in order.
        alone_db: the outputs' ratio with these products alone on integers.
        least_db: ratio to reach.
        progress: told about the stretches.
    """
    size = -(-len(products) // MOST_STRETCHES) or 1
    groups = [tuple(products[at : at + size]) for at in range(0, len(products), size)]
    times = {g.node_name(node): _CORE.node_ms(node) for node in model.graph}
    found = [
        Stretch(names, alone_db(names), sum(times[name] for name in names))
        for names in track([(names[0], names) for names in groups], progress, "Judge products", len(groups))
    ]
    return sorted(found, key=lambda one: (one.alone_db >= least_db, -one.noise_per_ms))


def keep_for(
    ranked: Sequence[Stretch], reaches: Callable[[Sequence[str]], float], least_db: float
) -> list[Stretch]:
    """The fewest of the first stretches, at least one, that must stay float32, less what the ratio can spare.

    Args:
        ranked: see :func:`stretches`.
        reaches: the outputs' ratio in dB with these products kept; infinite without any noise.
        least_db: ratio to reach.

    Returns:
        The stretches; all of them where no fewer suffice.
    """
    reached = {len(ranked): math.inf}
    low, high = 0, len(ranked)
    while high - low > 1:
        middle = (low + high) // 2
        reached[middle] = reaches(_names(ranked[:middle]))
        low, high = (low, middle) if reached[middle] >= least_db else (middle, high)
    return _with_fewer(list(ranked[:high]), reached[high], reaches, least_db)


def _with_fewer(
    kept: list[Stretch], reached_db: float, reaches: Callable[[Sequence[str]], float], least_db: float
) -> list[Stretch]:
    """Of the stretches that are kept, those without which the ratio is missed.

    As many as the noise that is to spare has room for, those first that save the most time, are given back to
    the integers together; one less each time that this misses the ratio.
    """
    spare = _noise(least_db) - _noise(reached_db)
    given: list[Stretch] = []
    for one in sorted(kept, key=lambda each: -each.float_ms):
        if _noise(one.alone_db) <= spare and len(given) < len(kept) - 1:
            given.append(one)
            spare -= _noise(one.alone_db)
    for count in range(len(given), max(len(given) - _MOST_TRIES, 0), -1):
        rest = [one for one in kept if one not in given[:count]]
        if reaches(_names(rest)) >= least_db:
            return rest
    return kept


def _names(stretches: Sequence[Stretch]) -> list[str]:
    return [name for one in stretches for name in one.names]


def _noise(ratio_db: float) -> float:
    """Energy of the error over that of the outputs."""
    return float(10 ** (-ratio_db / 10))


def why(one: Stretch, least_db: float) -> str:
    """Why a stretch stays float32, for people."""
    alone = "no noise" if math.isinf(one.alone_db) else f"{one.alone_db:.1f} dB"
    many = f"it and its {len(one.names) - 1} neighbours" if len(one.names) > 1 else "it"
    return f"for {least_db:g} dB: {alone} with {many} alone on integers"
