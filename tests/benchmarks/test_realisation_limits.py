"""What binds a planned network, by hand-made work."""

from dataclasses import replace

import pytest

from benchmarks.realisation import limits
from benchmarks.realisation.accounts import Account, account_of
from benchmarks.realisation.cases import Case
from benchmarks.realisation.rows import PLAIN_DENSE, PLANNED, PLANNED_DENSE, Row

#: Computing hides moving, moving exceeds computing, moving alone; at 100 GFLOP/s and 10 GB/s.
WORK = [(1e9, 2e9, 10**7), (1e8, 1e8, 10**8), (0.0, 0.0, 10**8)]


def test_the_three_parts():
    bound = limits.bound_ms(WORK, 100.0, 10.0)
    assert bound == pytest.approx({"arithmetic": 11.0, "lanes": 10.0, "memory": 9.0 + 10.0, "stream_gbs": 10})


def test_an_account_explains_most_of_the_time():
    bound = limits.bound_ms(WORK, 100.0, 10.0)
    assert limits.account(bound, 60.0, 100.0) == ""
    assert limits.account(bound, 37.0, 100.0) == ""  # faster than these rates allow: they are not what binds
    text = limits.account(bound, 50.0, 100.0)
    assert "arithmetic takes 11.0 ms at the 100 GFLOP/s of a matrix product" in text
    assert "idle lanes 10.0 ms, memory 19.0 ms more at 10.0 GB/s: 80% of the 50.0 ms measured" in text


def test_a_written_account_comes_first():
    bound = limits.bound_ms(WORK, 100.0, 10.0)
    row = Row(
        Case("r3d18", "cp", "tiny"),
        "onnxruntime",
        1,
        "k",
        samples_ms={PLANNED: [[50.0], [50.0]]},
        bound_ms=bound,
        sgemm_gflops=100.0,
    )
    assert "80% of the 50.0 ms" in account_of(row)
    assert account_of(row, (Account("r3d18 *", "a kernel"),)) == "a kernel"
    assert account_of(replace(row, bound_ms={})) == ""


def test_an_account_says_where_the_dense_network_leaves_products_out():
    row = Row(
        Case("r3d18", "cp", "tiny"),
        "onnxruntime",
        1,
        "k",
        dense_macs=10**10,
        macs=10**9,
        samples_ms={PLANNED: [[50.0], [50.0]], PLAIN_DENSE: [[200.0], [200.0]]},
        bound_ms=limits.bound_ms(WORK, 100.0, 10.0),
        sgemm_gflops=100.0,
    )
    assert "leaves out" not in account_of(row)
    faster = account_of(replace(row, samples_ms={**row.samples_ms, PLANNED_DENSE: [[125.0], [125.0]]}))
    assert "leaves out products of the best dense network, 125.0 ms or 160 GFLOP/s" in faster
