import json

import pytest
from support.results import comparison


def test_realisation_is_measured_over_mac_ratio():
    dense, small = comparison().rows()
    assert (small.params_ratio, small.mac_ratio, small.speedup) == (4.0, 4.0, 2.0)
    assert small.realisation == pytest.approx(0.5)
    assert (small.speedup_low, small.speedup_high) == (pytest.approx(1.8), pytest.approx(2.2))
    assert (dense.speedup, dense.mac_ratio, dense.realisation) == (None, None, None)


def test_every_network_is_compared_with_the_first():
    costs = {name: {"params": 1, "macs": macs} for name, macs in (("a", 60), ("b", 30), ("c", 20))}
    rows = comparison({"a": 6.0, "b": 2.0, "c": 12.0}, costs).rows()
    assert [row.label for row in rows] == ["a", "b", "c"]
    assert [row.speedup for row in rows] == [None, 3.0, 0.5]
    assert [row.mac_ratio for row in rows] == [None, 2.0, 3.0]
    assert [row.realisation for row in rows[1:]] == [pytest.approx(1.5), pytest.approx(1 / 6)]


@pytest.mark.parametrize(
    "costs", [{}, {"a": {"params": 1, "macs": 5}}, {"a": {"params": 1, "macs": 5}, "b": {"macs": 0}}]
)
def test_no_realisation_where_macs_are_unknown(costs):
    row = comparison({"a": 6.0, "b": 2.0}, costs).rows()[1]
    assert row.speedup == 3.0
    assert (row.params_ratio, row.mac_ratio, row.realisation) == (None, None, None)


def test_samples_memory_and_parity():
    run = comparison(parities={"small": 3e-7})
    assert run.samples_ms("small") == [4.0, 4.0, 4.0]
    dense, small = run.rows()
    assert (dense.parity, small.parity) == (None, 3e-7)
    assert small.own_memory_bytes == 4 * 2**20
    assert comparison(memory=False).rows()[0].own_memory_bytes is None
    assert (run.quiet, run.threads, run.foreign_cpu) == (True, 1, 0.02)


def test_document_has_the_rows_and_every_sample():
    document = json.loads(json.dumps(comparison().to_json(), allow_nan=False))
    assert document["rows"][1]["realisation"] == 0.5
    assert document["result"]["models"]["dense"]["latency"]["samples_ms"] == [[8.0, 8.0], [8.0]]
