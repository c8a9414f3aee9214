"""The operator as it stands: any geometry, and Linear layers of any number of axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import ops, run
from support.planning import SETTINGS, assert_factor, check_offers, factors, offered, sample

from tdedge.factor import ACTIVATIONS, Factor
from tdedge_exporters.planner.forms import conv
from tdedge_exporters.planner.layouts import Layout


@SETTINGS
@given(st.integers(1, 3).flatmap(factors))
def test_any_geometry(case):
    factor, shape = case
    offers = list(conv.offers(factor, shape))
    assert [(o.form, o.reads, o.gives) for o in offers] == [("conv", Layout.NATIVE, Layout.NATIVE)]
    check_offers(offers, factor, shape)


@pytest.mark.parametrize("shape", [(1, 7), (3, 7), (2, 5, 7), (2, 1, 3, 7)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_linear(shape, bias, activation):
    rng = np.random.default_rng(0)
    factor = Factor(
        rng.standard_normal((4, 7)).astype(np.float32),
        bias=rng.standard_normal(4).astype(np.float32) if bias else None,
        activation=activation,
    )
    (offer,) = conv.offers(factor, shape)
    assert offer.form == "linear"
    model = offered(offer, factor, shape)
    names = ["Gemm"] if len(shape) == 2 else ["MatMul", "Add"][: 1 + bias]
    assert [node.op_type for node in model.graph][: len(names)] == names
    assert sum(ops(model).values()) == len(names) + (activation is not None)
    x = sample(shape)
    assert_factor(run(model, x)[0], factor, x)
