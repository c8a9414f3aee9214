"""A network of three layers for searches, and figures of its plans that cost nothing to compute."""

import functools
import math

import numpy as np

from tdedge.compress import LayerSite
from tdedge.factor import Factor
from tdedge.searching.space import Space


def conv(outputs: int, inputs: int, size: int) -> LayerSite:
    """A padded 2-D convolution on 16x16."""
    rng = np.random.default_rng(outputs)
    kernel = rng.normal(size=(outputs, inputs, size, size))
    return LayerSite(Factor(kernel, pads=((size // 2, size // 2),) * 2), (1, inputs, 16, 16))


SITES = {"stem": conv(32, 16, 3), "body": conv(64, 32, 3), "head": conv(16, 64, 1)}


@functools.cache
def space(formats=("tucker", "tt"), quantum: int = 1) -> Space:
    """The space of :data:`SITES`."""
    return Space.of(SITES, formats, quantum=quantum)


def macs(plan) -> int:
    """Multiply-accumulates of the searched network under a plan, looked up option by option."""
    total = 0
    for layer, ladder in space().ladders.items():
        rule = plan.rule_for(layer)
        wanted = ("dense", ()) if rule is None else (rule.format, rule.ranks)
        total += next(o.macs for rungs in ladder.values() for o in rungs if (o.format, o.ranks) == wanted)
    return total


def accuracy(plan) -> float:
    """Grows with the size, and prefers Tucker."""
    tucker = sum(rule.format == "tucker" for rule in plan.layers.values())
    return math.log10(macs(plan)) + 0.01 * tucker


def latency_ms(plan) -> float:
    """A million multiply-accumulates in a millisecond."""
    return macs(plan) / 1e6
