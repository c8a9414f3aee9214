"""What the parts of a planned network take, by hand-made parts and by a plan from a recorded table."""

from dataclasses import replace

import pytest
from support.graphs import Net

from benchmarks.realisation import parts
from benchmarks.realisation.accounts import account_of
from benchmarks.realisation.cases import Case
from benchmarks.realisation.rows import PLAIN_DENSE, PLANNED, Row
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.costs import CostTable
from tdedge_exporters.planner.planner import plan_target
from tdedge_exporters.planner.roofline import Roofline

#: 100 GFLOP/s: 10^9 multiply-accumulates in 20 ms; a quarter of them should take 5 ms.
RATES = parts.Rates(planned_ms=7.0, dense_ms=20.0, dense_macs=10**9, mac_ratio=4.0)
GROUPED = {"wide": (3, 225_000_000, 4.5), "grouped": (2, 25_000_000, 2.3)}


def test_kernels_that_explain_the_time():
    text = parts.account(GROUPED, RATES)
    assert "2 grouped factors take 2.3 ms (22 GFLOP/s), the network beyond its parts 0.2 ms" in text
    assert "of 7 ms" in text
    assert "best dense network run at 100 GFLOP/s, and at that rate this one would realise 1.00" in text
    text = parts.account(GROUPED, replace(RATES, planned_ms=6.7))  # less together than alone
    assert "2 grouped factors take 2.3 ms (22 GFLOP/s), of 6.7 ms" in text


@pytest.mark.parametrize(
    ("found", "rates"),
    [
        ({"wide": (5, 250_000_000, 7.0)}, RATES),  # wide factors have no excuse
        (GROUPED, replace(RATES, planned_ms=9.0)),  # the parts do not come to the time
        (GROUPED, replace(RATES, planned_ms=5.0)),
        ({**GROUPED, "grouped": (2, 25_000_000, 0.6)}, replace(RATES, planned_ms=6.2)),
        ({"wide": (3, 225_000_000, 5.3), "grouped": (2, 25_000_000, 1.0)}, RATES),  # a tenth is the most
    ],
)
def test_kernels_that_do_not(found, rates):
    assert parts.account(found, rates) == ""


def test_what_moves_has_no_rate():
    found = {"wide": (3, 250_000_000, 5.0), "moves": (4, 0, 2.0)}
    assert "4 pools, maps and changes of layout take 2 ms" in parts.account(found, RATES)


def test_the_account_of_a_row():
    row = Row(
        Case("r3d18", "kcp", "1"),
        "onnxruntime",
        1,
        "k",
        dense_macs=10**9,
        macs=25 * 10**7,
        samples_ms={PLANNED: [[7.0], [7.0]], PLAIN_DENSE: [[20.0], [20.0]]},
        parts=GROUPED,
    )
    assert account_of(row) == parts.account(GROUPED, RATES)
    assert account_of(Row.from_json(row.to_json())) == account_of(row)
    assert account_of(replace(row, parts={})) == ""


def test_parts_of_a_plan():
    """Every multiply-accumulate of the network is in one part, planned or not."""
    net = Net(1, 32, 16, 16)
    a = net.conv("x", 8, 32, 1, 1)
    b = net.conv(a, 8, 8, 3, 3, pads=1, groups=8)
    c = net.add("Relu", net.conv(b, 32, 8, 1, 1))
    net.conv(c, 32, 32, 3, 3, pads=1)
    planned = plan_target(net.model(), Target("onnxruntime"), CostTable(), roofline=Roofline(100.0, 10.0))
    macs = 256 * (32 * 8 + 8 * 9 + 8 * 32 + 32 * 32 * 9)
    for is_used in (False, True):
        found = parts.parts_of(planned, is_used=is_used, alone_ms={})
        assert sum(part[1] for part in found.values()) == macs
    assert set(parts.parts_of(planned, is_used=False, alone_ms={})) == {"narrow", "grouped", "wide"}


def test_factors_without_a_choice_count_with_the_time_they_take_alone():
    net = Net(1, 32, 16, 16)
    a = net.conv("x", 32, 32, 5, 5, pads=2, groups=32, strides=[3, 3])
    net.conv(net.add("Relu", a), 32, 32, 1, 1)
    planned = plan_target(net.model(), Target("tflite"), CostTable(), roofline=Roofline(100.0, 10.0))
    (left,) = parts.not_timed(planned)
    assert left.units[0].factor.groups == 32
    for is_used in (False, True):
        before = parts.parts_of(planned, is_used=is_used, alone_ms={})
        after = parts.parts_of(planned, is_used=is_used, alone_ms={id(left): 0.75})
        assert before["grouped"] == (1, before["grouped"][1], 0.0)
        assert after == before | {"grouped": (1, before["grouped"][1], 0.75)}
