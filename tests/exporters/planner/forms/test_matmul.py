"""Pointwise factors and depthwise ones along time as matrix products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import ops
from support.planning import SETTINGS, check_offers, factors, offered

from tdedge.factor import Factor
from tdedge_exporters.planner.forms import matmul
from tdedge_exporters.planner.layouts import Layout


def forms(factor, shape):
    return [offer.form for offer in matmul.offers(factor, shape)]


@settings(SETTINGS, max_examples=200)
@given(st.integers(1, 3).flatmap(lambda axes: factors(axes, styles=("pointwise",), groupings=["dense"])))
def test_pointwise(case):
    factor, shape = case
    offers = list(matmul.offers(factor, shape))
    padded = any(map(any, factor.pads))
    assert bool(offers) == (not padded)
    check_offers(offers, factor, shape)


@settings(SETTINGS, max_examples=200)
@given(factors(3, styles=("temporal",), groupings=["depthwise"]))
def test_in_time(case):
    check_offers(list(matmul.offers(*case)), *case)


def kernel(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


POINTWISE = Factor(kernel(4, 6, 1, 1), bias=kernel(4), activation="relu")
TEMPORAL = Factor(
    kernel(6, 1, 3, 1, 1), (2, 1, 1), ((1, 1), (0, 0), (0, 0)), (1, 1, 1), 6, kernel(6), "relu6"
)


@pytest.mark.parametrize(
    ("factor", "shape", "expected"),
    [
        (POINTWISE, (2, 6, 7, 8), ["matmul.last", "matmul.left"]),
        (Factor(kernel(4, 6, 1)), (2, 6, 7), ["matmul.last", "matmul.left"]),
        (Factor(kernel(4, 6, 1, 1), (2, 1)), (1, 6, 7, 8), ["matmul.last"]),
        (Factor(kernel(4, 6, 1, 1), pads=((0, 1), (0, 0))), (1, 6, 7, 8), []),
        (Factor(kernel(4, 3, 1, 1), groups=2), (1, 6, 7, 8), []),
        (Factor(kernel(4, 6, 3, 3)), (1, 6, 7, 8), []),
        (Factor(kernel(4, 6)), (1, 6), []),
        (TEMPORAL, (1, 6, 24, 3, 4), ["matmul.time"]),
        (TEMPORAL, (1, 6, 25, 3, 4), []),  # mostly zeros
        (TEMPORAL, (2, 6, 8, 3, 4), []),
        (Factor(kernel(6, 1, 3, 1, 1), (1, 2, 1), groups=6), (1, 6, 8, 3, 4), []),
        (Factor(kernel(4, 6, 3, 1, 1)), (1, 6, 8, 3, 4), []),
    ],
)
def test_conditions(factor, shape, expected):
    assert forms(factor, shape) == expected
    check_offers(list(matmul.offers(factor, shape)), factor, shape)


def test_layouts_and_node_counts():
    last, left = matmul.offers(POINTWISE, (2, 6, 7, 8))
    assert (last.reads, last.gives) == (Layout.LAST, Layout.LAST)
    assert (left.reads, left.gives) == (Layout.NATIVE, Layout.NATIVE)
    counts = ops(offered(last, POINTWISE, (2, 6, 7, 8)))
    assert counts == {"Gemm": 1, "Relu": 1, "Reshape": 2, "Transpose": 2}
    counts = ops(offered(left, POINTWISE, (2, 6, 7, 8)))
    assert counts == {"MatMul": 1, "Add": 1, "Relu": 1, "Reshape": 2}
    (time,) = matmul.offers(TEMPORAL, (1, 6, 8, 3, 4))
    assert ops(offered(time, TEMPORAL, (1, 6, 8, 3, 4))) == {"MatMul": 1, "Add": 1, "Clip": 1, "Reshape": 2}
