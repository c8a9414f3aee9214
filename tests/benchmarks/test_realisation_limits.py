"""What binds a planned network, by hand-made work."""

from dataclasses import replace

import pytest

from benchmarks.realisation import limits
from benchmarks.realisation.accounts import Account, account_of
from benchmarks.realisation.cases import Case
from benchmarks.realisation.rows import PLAIN_DENSE, PLANNED, PLANNED_DENSE, Row

#: Computing hides moving, moving exceeds computing, moving alone; at 100 GFLOP/s and 10 GB/s.
WORK = [(1e9, 2e9, 10**7), (1e8, 1e8, 10**8), (0.0, 0.0, 10**8)]
ROW = Row(
    Case("r3d18", "cp", "tiny"),
    "onnxruntime",
    1,
    "k",
    samples_ms={PLANNED: [[50.0], [50.0]]},
    bound_ms=limits.bound_ms(WORK, 100.0, 10.0),
    sgemm_gflops=100.0,
)


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
    assert "80% of the 50.0 ms" in account_of(ROW)
    assert account_of(ROW, (Account("r3d18 *", "a kernel"),)) == "a kernel"
    assert account_of(replace(ROW, bound_ms={})) == ""


def test_an_account_says_what_both_would_realise_at_one_rate():
    dense_ms = {PLAIN_DENSE: [[400.0], [400.0]], PLANNED_DENSE: [[250.0], [250.0]]}
    row = replace(ROW, dense_macs=10**10, macs=10**9, samples_ms={**ROW.samples_ms, **dense_ms})
    few = {PLANNED_DENSE: 6 * 10**9, PLANNED: 9 * 10**8}
    assert "executes" not in account_of(row)
    text = account_of(replace(row, executed_macs=few))
    assert text.startswith("arithmetic takes 11.0 ms")
    assert (
        "executes 60% of its multiply-accumulates, the planned one 90%: at one rate it would realise" in text
    )
    assert "0.67, 75% of which it does" in text
    alone = replace(row, executed_macs=few, bound_ms={})
    assert account_of(alone) == ""  # 0.50 of the 0.67: something else binds it
    moved = account_of(replace(alone, parts={"moves": (3, 0, 5.0)}))
    assert moved.endswith("; 5 of its 50 ms multiply nothing, without which it would be 83%")
    assert account_of(replace(alone, parts={"moves": (3, 0, 2.0)})) == ""
    nearer = replace(alone, samples_ms={**row.samples_ms, PLANNED: [[45.0], [45.0]]})
    assert "83% of which it does" in account_of(nearer)
    as_many = {PLANNED_DENSE: 10**10, PLANNED: 10**9}
    assert account_of(replace(nearer, executed_macs=as_many)) == ""
    plain = {label: ms for label, ms in nearer.samples_ms.items() if label != PLANNED_DENSE}
    assert account_of(replace(nearer, samples_ms=plain)) == ""
