"""Predictions: bounded by arithmetic or by memory, and plans made of them."""

import numpy as np
import pytest
from support.graphs import Net, run
from support.recorded import TARGET

from tdedge_exporters.planner.costs import CostTable
from tdedge_exporters.planner.plan import of
from tdedge_exporters.planner.planner import here, plan_target
from tdedge_exporters.planner.roofline import Roofline
from tdedge_exporters.planner.units import network

DEVICE = Roofline(peak_gflops=10.0, bandwidth_gbs=4.0, lanes=16)


def conv(channels: int, taps: int):
    net = Net(1, channels, 32, 32)
    net.conv("x", channels, channels, taps, taps, pads=taps // 2, name="y")
    return net.model()


def test_a_large_kernel_is_bound_by_arithmetic_and_a_pointwise_one_by_memory():
    assert DEVICE.predict_ms(conv(16, 5)) == pytest.approx(2 * 16 * 16 * 25 * 1024 / 10e6)
    moved = 4 * (2 * 16 * 1024 + 16 * 16)
    assert Roofline(1e6, 4.0).predict_ms(conv(16, 1)) == pytest.approx(moved / 4e6)


def test_idle_lanes_cost_what_busy_ones_do():
    assert DEVICE.predict_ms(conv(8, 5)) == pytest.approx(DEVICE.predict_ms(conv(16, 5)) / 2)


def test_a_plan_of_predictions_says_so_and_times_nothing():
    """Two output channels: packing fills the lanes, and the roofline sees it."""

    def refuses(files, target, options):
        raise AssertionError("nothing is timed")

    net = Net(1, 4, 48, 48)
    net.add("Relu", net.conv("x", 2, 4, 7, 7, pads=3), name="y")
    model = net.model()
    table = CostTable()
    planned = plan_target(model, TARGET, table, effort="low", measure=refuses, roofline=DEVICE)
    assert [candidate.form.split(".")[0] for candidate in planned.choice.chosen] == ["packed"]
    assert not list(table.rows())
    document = of(planned, TARGET, here(TARGET, 1), "low")
    assert document.kept == "planned" and "predicted to be faster" in document.why
    assert {piece.kind for piece in document.pieces} == {"predicted"}
    assert document.check is not None and document.check.kind == "predicted"
    assert len(network(planned.model).units) > 1
    x = np.random.default_rng(0).standard_normal((1, 4, 48, 48)).astype(np.float32)
    (got,), (expected,) = run(planned.model, x), run(model, x)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
