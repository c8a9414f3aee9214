"""What a layer costs in its place, from recorded times: the cheapest forms, its ends for nothing."""

from functools import reduce

import numpy as np
import pytest
from support.graphs import assert_close, run
from support.planning import apply
from support.recorded import OPSET, Recording, pricing, recorded

from tdedge.chain import Chain
from tdedge.factor import Factor
from tdedge_exporters.planner.candidates import Scope
from tdedge_exporters.planner.costs import CostTable
from tdedge_exporters.planner.layer_costs import chain_model, chain_ms
from tdedge_exporters.planner.units import network

RNG = np.random.default_rng(0)
SCOPE = Scope(pad_ranks=False)


def pointwise(out, into, axes=3):
    return Factor(RNG.standard_normal((out, into, *(1,) * axes)))


def three_by_three(out, into):
    return Factor(RNG.standard_normal((out, into, 3, 3, 3)), pads=((1, 1),) * 3)


CHAIN = Chain((pointwise(4, 16), three_by_three(4, 4), pointwise(16, 4)))
SHAPE = (1, 16, 4, 6, 6)


def priced(ms, conversion_ms=0.25):
    net = network(chain_model(CHAIN, SHAPE, OPSET))
    table = recorded(net, SCOPE, ms, conversion_ms)
    return pricing(CostTable(), Recording(lambda sha256: table[sha256]))


def plain_ms(candidate):
    """Every part 2 ms, forms and mergers more."""
    return 2.0 if candidate.is_plain else 50.0


def in_frames(candidate):
    """Frames halve the time of a factor."""
    if str(candidate.reads) == str(candidate.gives) == "frames" and len(candidate.units) == 1:
        return 1.0
    return plain_ms(candidate)


def test_the_model_is_the_chain_between_activations():
    model = chain_model(CHAIN, SHAPE, OPSET)
    x = RNG.standard_normal(SHAPE).astype(np.float32)
    expected = np.maximum(reduce(lambda y, factor: apply(factor, y), CHAIN, np.maximum(x, 0)), 0)
    assert_close(run(model, x), [expected.astype(np.float32)])
    assert [unit.kind for unit in network(model).units] == ["map", "factor", "factor", "factor"]


def test_plain_factors_add_up():
    assert chain_ms([(CHAIN, SHAPE)], priced(plain_ms), SCOPE) == pytest.approx([6.0])


def test_the_ends_are_free_of_charge():
    """In frames from the neighbour to the neighbour: neither the map nor the changes of layout count."""
    assert chain_ms([(CHAIN, SHAPE)], priced(in_frames, conversion_ms=100.0), SCOPE) == pytest.approx([3.0])


def test_changes_of_layout_inside_count():
    def middle(candidate):
        kernel = [unit.factor.kernel_size for unit in candidate.units if unit.kind == "factor"]
        return in_frames(candidate) if kernel == [(3, 3, 3)] else plain_ms(candidate)

    assert chain_ms([(CHAIN, SHAPE)], priced(middle, conversion_ms=0.25), SCOPE) == pytest.approx([5.5])
    assert chain_ms([(CHAIN, SHAPE)], priced(middle, conversion_ms=0.75), SCOPE) == pytest.approx([6.0])


def test_equal_chains_are_timed_once():
    made = priced(plain_ms)
    first = chain_ms([(CHAIN, SHAPE)], made, SCOPE)
    asked = len(made.measure.asked)
    assert chain_ms([(CHAIN, SHAPE), (CHAIN, SHAPE)], made, SCOPE) == pytest.approx(first * 2)
    assert len(made.measure.asked) == asked
