"""Pointwise factors on segments of the positions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import ops
from support.planning import SETTINGS, check_offers, factors, offered

from tdedge.factor import Factor
from tdedge_exporters.planner.forms import segments
from tdedge_exporters.planner.layouts import Layout


def kernel(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@settings(SETTINGS, max_examples=200)
@given(st.integers(1, 3).flatmap(lambda axes: factors(axes, styles=("pointwise",))), st.integers(1, 4))
def test_pointwise(case, times):
    factor, (batch, channels, *sizes) = case
    shape = (batch, channels, *sizes[:-1], sizes[-1] * 2**times)
    offers = list(segments.offers(factor, shape))
    assert bool(offers) <= (factor.is_pointwise and factor.groups == 1)
    check_offers(offers, factor, shape)


@pytest.mark.parametrize(
    ("factor", "shape", "expected"),
    [
        (Factor(kernel(4, 6, 1, 1)), (1, 6, 8, 8), ["segments.4", "segments.2"]),
        (Factor(kernel(24, 3, 1, 1)), (2, 3, 8, 8), ["segments.4"]),  # 8 segments would make 192 channels
        (Factor(kernel(6, 8, 1)), (1, 8, 12), ["segments.4", "segments.2"]),
        (Factor(kernel(6, 8, 1)), (1, 8, 10), ["segments.2"]),
        (Factor(kernel(6, 8, 1, 1, 1)), (1, 8, 3, 3, 3), []),  # nothing divides 27 positions
        (Factor(kernel(16, 16, 1, 1)), (1, 16, 8, 8), []),
        (Factor(kernel(4, 4, 3, 3)), (1, 4, 8, 8), []),
        (Factor(kernel(4, 4, 1, 1), (2, 2)), (1, 4, 8, 8), []),
        (Factor(kernel(4, 2, 1, 1), groups=2), (1, 4, 8, 8), []),
        (Factor(kernel(4, 4)), (1, 4), []),
    ],
)
def test_conditions(factor, shape, expected):
    offers = list(segments.offers(factor, shape))
    assert [offer.form for offer in offers] == expected
    assert all(offer.reads is offer.gives is Layout.NATIVE for offer in offers)
    check_offers(offers, factor, shape)


def test_node_counts():
    factor = Factor(kernel(4, 6, 1, 1), bias=kernel(4), activation="relu")
    first, _ = segments.offers(factor, (1, 6, 8, 8))
    model = offered(first, factor, (1, 6, 8, 8))
    assert ops(model) == {"Reshape": 2, "Conv": 1, "Relu": 1}
    (weight,) = (node.inputs[1] for node in model.graph if node.op_type == "Conv")
    assert tuple(weight.shape) == (16, 24, 1, 1)
