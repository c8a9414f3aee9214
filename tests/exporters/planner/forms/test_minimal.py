"""Minimal filtering: fewer products, the same filter."""

import numpy as np
import onnx_ir as ir
import pytest
from support.graphs import ops, run
from support.planning import single

from tdedge.factor import Factor
from tdedge_exporters.planner.emitter import Emitter
from tdedge_exporters.planner.forms.minimal import filtering, filterings, gather, spread

KNOWN = [(2, 3), (4, 3), (2, 5)]


@pytest.mark.parametrize(("outputs", "taps"), KNOWN)
def test_the_bilinear_form_is_the_filter(outputs, taps):
    plan = filtering(outputs, taps)
    assert (plan.outputs, plan.products) == (outputs, outputs + taps - 1)
    assert plan.share == pytest.approx((outputs + taps - 1) / (outputs * taps))
    computed = np.einsum("ij,jk,jq->ikq", plan.gather, plan.kernels, plan.spread)
    expected = np.zeros((outputs, taps, outputs + taps - 1))
    for i in range(outputs):
        for k in range(taps):
            expected[i, k, i + k] = 1
    np.testing.assert_allclose(computed, expected, atol=1e-14)


@pytest.mark.parametrize(("outputs", "taps"), [(1, 4), (4, 1), (3, 3), (2, 4), (4, 5), (8, 3)])
def test_nothing_to_gain_or_too_many_products(outputs, taps):
    assert filtering(outputs, taps) is None


@pytest.mark.parametrize(("outputs", "taps"), KNOWN)
@pytest.mark.parametrize("absent", [(), (0,), (0, 1), (3,), (2, 3)])
def test_nodes_compute_it_also_beside_zeros(outputs, taps, absent):
    plan = filtering(outputs, taps)
    count = plan.products
    rng = np.random.default_rng(0)
    g, d = rng.standard_normal(taps), rng.standard_normal((count, 1, 4)).astype(np.float32)
    d[list(absent)] = 0

    def body(e: Emitter, x: ir.Value) -> ir.Value:
        given = [None if index in absent else e.slice(x, 0, index, index + 1) for index in range(count)]
        products = []
        for part, kernel in zip(spread(e, plan, given), plan.kernels, strict=True):
            scale = None if part is None else e.number(part[1] * float(kernel @ g), part[0])
            products.append(None if part is None else e.binary("Mul", part[0], scale))
        return e.concat(gather(e, plan, products), 0)

    (y,) = run(single((count, 1, 4), body), d)
    expected = [sum(g[k] * d[i + k] for k in range(taps)) for i in range(outputs)]
    np.testing.assert_allclose(y, expected, atol=2e-5)


def test_two_outputs_of_three_taps_need_no_multiplications_but_the_products():
    plan = filtering(2, 3)

    def body(e: Emitter, x: ir.Value) -> ir.Value:
        parts = spread(e, plan, [e.slice(x, 0, index, index + 1) for index in range(4)])
        assert all(abs(scale) == 1 for _, scale in parts)
        return e.concat(gather(e, plan, [value for value, _ in parts]), 0)

    found = ops(single((4, 1, 4), body))
    assert "Mul" not in found
    assert found["Add"] + found["Sub"] == 4 + 4


def test_only_ungrouped_factors_of_stride_and_dilation_one():
    def factor(into=4, taps=3, **geometry):
        return Factor(np.ones((4, into, taps, 3, 3), np.float32), **geometry)

    shape = (1, 4, 8, 9, 9)
    assert [plan.outputs for plan in filterings(factor(), shape)] == [2, 4]
    assert [plan.outputs for plan in filterings(factor(), (1, 4, 4, 9, 9))] == [2]
    for other in (
        factor(2, groups=2),
        factor(1, groups=4),
        factor(stride=(2, 1, 1)),
        factor(dilation=(2, 1, 1)),
        factor(taps=1),
        factor(pads=((3, 0), (0, 0), (0, 0))),
    ):
        assert filterings(other, shape) == []
