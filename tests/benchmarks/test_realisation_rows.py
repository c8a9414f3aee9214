"""Rows, gates, the store and the tables of the realisation benchmark, on figures made up here."""

import json
from dataclasses import replace

import pytest

from benchmarks.realisation.accounts import Account, account_of
from benchmarks.realisation.benchmark import reported
from benchmarks.realisation.cases import Case
from benchmarks.realisation.gates import FAIL, NOT_RUN, PASS, gates
from benchmarks.realisation.plot import realisations
from benchmarks.realisation.rows import ALIGNED, CONV3D, PLAIN, PLAIN_DENSE, PLANNED, PLANNED_DENSE, Row
from benchmarks.realisation.store import Store, key_of
from benchmarks.realisation.tables import markdown

R3D = Case("r3d18", "tucker", "1/4")
THETIS = Case("thetis", "tucker", "published")


def row(case=R3D, runtime="onnxruntime", *, threads=1, best=60.0, plain=12.0, planned=8.0, **other):
    """Latencies in ms, ten blocks of one call each; plain dense takes 80; MAC ratio 8."""
    latencies = {PLAIN_DENSE: 80.0, PLANNED_DENSE: best, PLAIN: plain, PLANNED: planned}
    latencies |= other.pop("beside", {})
    samples = {label: [[ms]] * 10 for label, ms in latencies.items()}
    figures = {"dense_macs": 8_000_000_000, "macs": 1_000_000_000, "sgemm_gflops": 500.0, "key": "k"}
    return Row(case, runtime, threads, samples_ms=samples, **{**figures, **other})


def gate(rows, name, threads=1):
    (found,) = [each for each in gates(rows, threads) if name in each.name]
    return found


def test_realisation_is_the_speedup_over_the_mac_ratio():
    made = row()
    assert made.mac_ratio == 8.0
    assert made.speedup_plain == pytest.approx(10.0)
    assert made.speedup_best == pytest.approx(7.5)
    assert made.realisation == pytest.approx(1.25)
    assert made.realisation_best == pytest.approx(60 / 8 / 8)
    assert made.realisation_of_plain == pytest.approx(80 / 12 / 8)
    assert made.ratio(PLAIN, PLANNED) == pytest.approx(1.5)


def test_best_dense_is_the_faster_one():
    assert row(best=60.0).best_dense == PLANNED_DENSE
    assert row(best=81.0).best_dense == PLAIN_DENSE
    assert row(best=81.0).speedup_best == row().speedup_plain


def test_the_dense_export_of_clips_is_that_of_converters_where_it_was_timed():
    assert row().realisation_of_export == row().realisation == pytest.approx(1.25)
    made = row(beside={CONV3D: 160.0})
    assert (made.realisation, made.realisation_of_export) == (pytest.approx(1.25), pytest.approx(2.5))
    assert made.speedup_best == row().speedup_best, "the honest baseline is our own"


def test_peak_share_counts_two_operations_per_multiply_accumulate():
    assert row(planned=8.0).peak_share == pytest.approx(2e9 / 8e-3 / 500e9)
    assert replace(row(), sgemm_gflops=None).peak_share is None


def test_first_layer_share_before_and_after():
    assert row(first_layer_ms=(6.0, 2.0)).first_layer_share == (pytest.approx(0.5), pytest.approx(0.25))
    assert row().first_layer_share is None


def test_a_missing_file_has_no_ratio():
    assert row().ratio(CONV3D, PLANNED) is None
    assert Row(R3D, "tflite", 1, "k", error="no").derived() == {}


def test_rows_come_back_from_json_as_they_were():
    made = row(first_layer_ms=(6.0, 2.0), forms={"packed": 2}, streams_gbs=((20.0, 45.0),), mode="far")
    text = json.dumps({**made.to_json()})
    assert Row.from_json(json.loads(text)) == made
    assert json.loads(json.dumps(made.derived()))["realisation"] == pytest.approx(1.25)


def test_gates_without_rows_were_not_run():
    for threads in (1, 2):
        assert {each.state for each in gates([], threads)} == {NOT_RUN}


@pytest.mark.parametrize(
    ("case", "runtime", "planned", "beside", "name", "state"),
    [
        (THETIS, "onnxruntime", 8.5, {}, "THETIS, ONNX Runtime, over plain dense", PASS),
        (THETIS, "onnxruntime", 9.5, {}, "THETIS, ONNX Runtime, over plain dense", FAIL),
        (THETIS, "onnxruntime", 12.5, {}, "THETIS, ONNX Runtime, over best dense", FAIL),
        (THETIS, "openvino", 10.0, {}, "THETIS, OpenVINO", PASS),
        (THETIS, "openvino", 11.0, {}, "THETIS, OpenVINO", FAIL),
        (THETIS, "tflite", 9.0, {CONV3D: 220.0}, "over dense CONV_3D", PASS),
        (THETIS, "tflite", 9.0, {CONV3D: 200.0}, "over dense CONV_3D", FAIL),
        (THETIS, "tflite", 9.0, {}, "over dense CONV_3D", NOT_RUN),
        (THETIS, "tflite", 11.0, {CONV3D: 220.0}, "plain dense, tflite (clips: CONV_3D)", PASS),
        (THETIS, "tflite", 11.0, {}, "plain dense, tflite", FAIL),
        (THETIS, "tflite", 9.0, {}, "2-D forms", PASS),
        (R3D, "onnxruntime", 8.5, {}, "Tucker 1/4", PASS),
        (R3D, "onnxruntime", 9.5, {}, "Tucker 1/4", FAIL),
        (Case("r3d18", "kcp", "1"), "onnxruntime", 12.0, {}, "KCP", FAIL),
        (R3D, "openvino", 12.5, {}, "R3D-18, OpenVINO", FAIL),
        (R3D, "openvino", 12.1, {}, "R3D-18, OpenVINO", PASS),
        (Case("vgg16", "tucker", "unaligned"), "onnxruntime", 8.0, {ALIGNED: 7.7}, "unaligned", PASS),
        (Case("vgg16", "tucker", "unaligned"), "onnxruntime", 8.0, {ALIGNED: 7.5}, "unaligned", FAIL),
        (Case("vgg16", "tucker", "unaligned"), "tflite", 8.0, {ALIGNED: 5.0}, "unaligned", NOT_RUN),
    ],
)
def test_gates_of_published_figures(case, runtime, planned, beside, name, state):
    made = row(case, runtime, planned=planned, beside=beside)
    (found,) = [each for each in gates([made], 1) if name in each.name]
    assert found.state == state


def test_the_slowest_planned_row_decides():
    rows = [row(), row(Case("vgg16", "cp", "1/2"), plain=8.0, planned=8.3)]
    found = gate(rows, "every row")
    assert (found.state, found.measured) == (FAIL, "0.96x (vgg16 cp 1/2 onnxruntime)")
    assert found.line().startswith("FAIL: planned over plain")


def test_medians_are_per_runtime_and_of_the_published_networks():
    rows = [row(planned=ms) for ms in (8.0, 9.0, 30.0)]
    rows.append(row(Case("image_net", "tucker", "1/4"), planned=80.0))
    assert gate(rows, "realisation over plain dense, onnxruntime").measured == "1.11 of 3 rows"
    assert gate(rows, "realisation over plain dense, openvino").state == NOT_RUN


def test_medians_of_networks_are_told_beside_those_of_rows():
    rows = [row(planned=ms) for ms in (8.0, 9.0, 30.0)]
    rows += [row(Case("c3d", "tucker", rank), planned=20.0) for rank in ("1/4", "1/2")]
    found = gate(rows, "realisation over plain dense, onnxruntime")
    assert (found.state, found.measured) == (FAIL, "0.50 of 5 rows; 0.81 of 2 networks")


def test_low_rows_need_an_account():
    low = row(planned=12.0)
    found = gate([low, row()], "without an account")
    assert (found.state, found.measured) == (FAIL, "0.62 (r3d18 tucker 1/4 onnxruntime); 1 of 2 rows")
    accounts = (Account("r3d18 * onnxruntime", "bandwidth: 30 of 32 GB/s"),)
    assert account_of(low, accounts) == "bandwidth: 30 of 32 GB/s"
    assert account_of(replace(low, threads=2), accounts) == ""
    assert gate([row()], "without an account").state == PASS


def test_first_planning_is_one_that_timed_its_forms():
    rows = [row(planning_s=200.0, trials=3), row(planning_s=90.0, trials=300)]
    assert gate(rows, "first time").measured == "90 s (r3d18 tucker 1/4 onnxruntime)"
    assert gate(rows[:1], "first time").state == NOT_RUN


def test_second_planning_is_quick():
    rows = [row(again_s=4.0), row(again_s=12.5), row()]
    found = gate(rows, "second time")
    assert (found.state, found.measured) == (FAIL, "12.5 s (r3d18 tucker 1/4 onnxruntime)")
    assert gate(rows[:1], "second time").state == PASS


def test_two_threads_count_where_cores_are_near_and_nothing_else_ran():
    rows = [
        row(threads=2, planned=8.0, mode="near"),
        row(threads=2, planned=20.0, mode="far"),
        row(threads=2, planned=20.0, mode="near", quiet=False),
    ]
    found = gate(rows, "cores near", 2)
    assert (found.state, found.measured) == (PASS, "1.25 of 1 rows")
    assert not [each for each in gates(rows, 2) if "THETIS" in each.name]


def test_failed_rows_fail_a_gate_and_are_told():
    rows = [row(), Row(THETIS, "tflite", 1, "k", error="node 'a|b' is refused")]
    assert gate(rows, "could be measured").measured == "1 of 2"
    assert gate(rows, "could be measured").state == FAIL
    assert "thetis tucker published tflite: node 'a|b' is refused" in markdown(rows, gates(rows, 1))


def test_tables_by_runtime_and_mode():
    rows = [
        row(threads=2, mode="near", first_layer_ms=(6.0, 2.0), forms={"packed": 2, "frames": 7}),
        row(runtime="tflite", threads=2, mode="far", quiet=False, beside={CONV3D: 800.0}),
    ]
    text = markdown(rows, gates(rows, 2))
    assert "## ONNX Runtime, cores near" in text
    assert "## LiteRT, cores far" in text
    assert "| r3d18 | tucker | 1/4 | 8.00x | 80.00 ms | 60.00 ms | 12.00 ms | 8.00 ms | 10.00x |" in text
    assert "| 0.83 | 1.25 | 0.94 | 50% |" in text
    assert "50% to 25% | 7 frames, 2 packed |" in text
    assert "| parity | CONV_3D dense | realises of that |" in text
    assert "| 800.0 ms | 12.50 |" in text
    assert "CONV_3D" not in text.partition("## LiteRT")[0].partition("## ONNX")[2], "clips in LiteRT alone"
    assert "more than 6 % of the CPU during: r3d18 tucker 1/4 tflite" in text
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_the_plot_shows_every_case_and_both_kinds():
    rows = [row(), row(THETIS, "openvino"), Row(THETIS, "tflite", 1, "k", error="no")]
    text = realisations(rows)
    assert text.startswith("<svg")
    for word in ("r3d18 tucker 1/4", "thetis tucker published", "openvino", "planned"):
        assert word in text
    assert realisations(rows) == text
    assert realisations([]).startswith("<svg")


def test_a_rerun_finds_what_is_done(tmp_path):
    path = tmp_path / "below" / "rows.jsonl"
    store = Store(path)
    store.add(row())
    store.add(Row(THETIS, "tflite", 1, "k", error="killed"))
    again = Store(path)
    assert again.get(Row(R3D, "onnxruntime", 1, "k")) == row()
    assert again.get(Row(R3D, "onnxruntime", 2, "k")) is None
    assert again.get(Row(R3D, "onnxruntime", 1, "other versions")) is None
    assert again.get(Row(THETIS, "tflite", 1, "k")) is None, "a failed row is tried again"
    assert [each.error for each in again.rows("k", 1)] == ["", "killed"]
    again.add(row(planned=7.0))
    assert Store(path).get(Row(R3D, "onnxruntime", 1, "k")).median_ms(PLANNED) == 7.0


def test_a_report_has_every_row_of_the_matrix_that_is_done(tmp_path):
    store = Store(tmp_path / "rows.jsonl")
    done = [row(Case("vgg16", "cp", "1/2")), row(THETIS, "tflite"), row(Case("image_net", "tucker", "1/4"))]
    for each in (*done, row(threads=2), row(key="another machine")):
        store.add(each)
    assert reported(store, "k", 1, []) == [done[1], done[0]]
    assert reported(store, "k", 1, [done[2], row()]) == [done[2]]


def test_a_torn_line_costs_one_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    store = Store(path)
    store.add(row())
    with path.open("a") as stream:
        stream.write('{"case": {"network": "thet')
    store = Store(path)
    store.add(row(runtime="tflite"))
    assert len(Store(path).rows("k", 1)) == 2


def test_key_depends_on_machine_and_versions():
    base = {"affinity": [0, 1], "cores": 2, "cpu_model": "x", "versions": {"onnxruntime": "1.0"}}
    key = key_of(base, "0.1")
    assert key == key_of({**base, "load_1min": 3}, "0.1")
    assert key != key_of(base, "0.2")
    assert key != key_of({**base, "affinity": [0]}, "0.1")
    assert key != key_of({**base, "versions": {"onnxruntime": "1.1"}}, "0.1")
