"""Rows, gates, the store and the tables of the int8 benchmark, on figures made up here."""

import json
from dataclasses import replace

import pytest

from benchmarks.int8.benchmark import reported
from benchmarks.int8.cases import TRAINED_CASES, axes, chosen, shape_of
from benchmarks.int8.gates import gates
from benchmarks.int8.operators import Operators
from benchmarks.int8.quality import Quality
from benchmarks.int8.rows import (
    DENSE,
    DENSE_INT8,
    FLOAT_PLAN,
    INT8,
    NOT_EQUALISED,
    PLANNED,
    STRICT,
    UNPLANNED,
    Row,
)
from benchmarks.int8.tables import markdown
from benchmarks.realisation.cases import NETWORKS, RUNTIMES, Case, Selection
from benchmarks.realisation.gates import FAIL, NOT_RUN, PASS
from benchmarks.realisation.store import Store, lines, published
from tdedge.errors import UsageError

R3D = Case("r3d18", "tucker", "1/4")
C3D = Case("c3d", "tucker", "1/4")
IMAGE = Case("resnet18", "cp", "1/2")
TRAINED = Case("trained-resnet", "tucker", "1/2")
PEER = "quantize_static"
INTEGERS = Operators(20, 0, 0, 0, 1, 0)


def row(case=R3D, runtime="onnxruntime", *, int8=4.0, sqnr=36.0, plain=31.0, beside=None, **other):
    """Latencies in ms, ten blocks of one call each; dense takes 90, planned 9; MAC ratio 8."""
    latencies = {DENSE: 90.0, DENSE_INT8: 30.0, PLANNED: 9.0, INT8: int8, FLOAT_PLAN: 4.4, UNPLANNED: 8.0}
    figures = {
        "key": "k",
        "dense_macs": 8_000,
        "macs": 1_000,
        "quality": {INT8: Quality(sqnr, 1.0), NOT_EQUALISED: Quality(plain, 0.75)},
        "size_bytes": {PLANNED: 360, INT8: 100},
        "operators": INTEGERS,
        "samples_ms": {label: [[ms]] * 10 for label, ms in (latencies | (beside or {})).items()},
    }
    return Row(case, runtime, 1, **{**figures, **other})


def noisy(strict=30.5):
    """20 dB on integers; another file of 6 ms with 5 of its 20 products in float32."""
    return row(
        sqnr=20.0,
        beside={STRICT: 6.0},
        quality={INT8: Quality(20.0, 1.0), STRICT: Quality(strict, 1.0)},
        operators_strict=Operators(15, 5, 0, 1, 1, 0),
        kept_strict={"conv_1": "for 31 dB: 33.0 dB with it alone on integers"},
    )


def gate(rows, name):
    (found,) = [each for each in gates(rows, 1) if name in each.name]
    return found


def test_figures_follow_from_what_was_measured():
    made = row(beside={PEER: 6.0})
    assert made.speedup == pytest.approx(9 / 4)
    assert made.speedup_dense == pytest.approx(90 / 4)
    assert made.gain_db(NOT_EQUALISED) == pytest.approx(5.0)
    assert made.smaller() == pytest.approx(3.6)
    assert made.peers == [PEER]
    derived = json.loads(json.dumps(made.derived()))
    assert derived["int8_over_peers"] == {PEER: pytest.approx(1.5)}
    assert derived["int8_over_float_plan"] == pytest.approx(1.1)
    assert derived["on_integers"] == 1.0
    assert Row(R3D, "tflite", 1, "k", error="no").derived() == {}


def test_the_file_at_the_ratio_is_the_one_with_float32_products_where_all_on_integers_lack_it():
    made = row(sqnr=36.0)
    assert (made.least_db, made.strict, made.speedup_strict) == (30.0, INT8, made.speedup)
    made = noisy()
    assert (made.least_db, made.strict) == (30.0, STRICT)
    assert made.speedup_strict == pytest.approx(9 / 6)
    assert made.derived()["sqnr_strict_db"] == 30.5
    unmade = row(sqnr=20.0)
    assert (unmade.strict, unmade.speedup_strict) == (STRICT, None)
    assert Row.from_json(json.loads(json.dumps(made.to_json()))) == made
    old = {key: value for key, value in made.to_json().items() if not key.endswith("_strict")}
    assert Row.from_json(old).operators_strict is None


def test_what_is_missing_has_no_figure():
    bare = row(quality={}, size_bytes={}, operators=None, samples_ms={INT8: [[1.0]] * 3})
    assert (bare.speedup, bare.sqnr_db(), bare.gain_db(NOT_EQUALISED), bare.smaller()) == (None,) * 4
    assert bare.derived()["on_integers"] is None


def test_rows_come_back_from_json_as_they_were(tmp_path):
    made = row(kept={"conv": "asked for"}, notes={PEER: "RuntimeError: no"}, equalised=7, planning_s=2.5)
    assert Row.from_json(json.loads(json.dumps(made.to_json()))) == made
    store = Store(tmp_path / "rows.jsonl", Row.from_json)
    store.add(made)
    store.add(row(IMAGE, error="killed"))
    again = Store(tmp_path / "rows.jsonl", Row.from_json)
    assert again.get(Row(R3D, "onnxruntime", 1, "k")) == made
    assert again.get(Row(IMAGE, "onnxruntime", 1, "k")) is None, "a failed row is tried again"


def test_rows_of_a_published_report_are_gone_on_with(tmp_path):
    """Of the same machine and versions; what is measured here counts more."""
    made = [row(planning_s=1.23456789), row(IMAGE)]
    report = tmp_path / "int8-t1.rows.jsonl"
    report.write_text(lines([each.to_json() for each in made]), encoding="utf-8")
    assert len(report.read_text(encoding="utf-8").splitlines()) == 2
    own = tmp_path / "own" / "rows.jsonl"
    store = Store(own, Row.from_json, report)
    assert store.get(Row(R3D, "onnxruntime", 1, "k")) == replace(made[0], planning_s=1.23457)
    assert store.get(Row(R3D, "onnxruntime", 1, "another machine")) is None
    assert not own.exists()
    store.add(row(int8=2.0))
    again = Store(own, Row.from_json, report)
    assert again.get(Row(R3D, "onnxruntime", 1, "k")).median_ms(INT8) == 2.0
    assert again.get(Row(IMAGE, "onnxruntime", 1, "k")) == made[1]


def test_published_rows_can_be_read():
    """Those of this repository, all of one machine, and every one with its times."""
    report = published("int8", 1)
    values = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    read = [Row.from_json(each) for each in values]
    assert read
    assert len({each.identity for each in read}) == len(read)
    assert len({each.key for each in read}) == 1
    assert all(each.error or each.median_ms(INT8) for each in read)


def test_a_report_has_every_row_that_is_done(tmp_path):
    store = Store(tmp_path / "rows.jsonl", Row.from_json)
    done = [row(TRAINED), row(), row(Case("image_net", "tucker", "1/4"))]
    for each in (*done, row(key="another machine")):
        store.add(each)
    assert reported(store, "k", 1, []) == [done[1], done[0]]
    assert reported(store, "k", 1, [done[2], row(IMAGE)]) == [done[2]]


def test_gates_without_rows_were_not_run():
    assert {each.state for each in gates([], 1)} == {NOT_RUN}


@pytest.mark.parametrize(
    ("rows", "name", "state", "measured"),
    [
        (
            [row(int8=ms) for ms in (3.0, 4.0, 9.0)],
            "planned float32, onnxruntime, all",
            PASS,
            "2.25 (r3d18 2.25)",
        ),
        (
            [
                row(),
                row(C3D, int8=4.0),
                *(row(replace(IMAGE, rank=rank), int8=9.0) for rank in ("1/2", "1/4")),
            ],
            "planned float32, onnxruntime, all",
            PASS,
            "2.25 (r3d18 2.25, c3d 2.25, resnet18 1.00)",
        ),
        ([row(int8=5.0)], "planned float32, onnxruntime, all", FAIL, "1.80 (r3d18 1.80)"),
        ([row(TRAINED, int8=9.0)], "planned float32, onnxruntime, all", NOT_RUN, ""),
        ([row(runtime="tflite")], "planned float32, tflite, all", PASS, "2.25 (r3d18 2.25)"),
        ([row()], "R3D-18, Tucker 1/4, int8 over dense float32, onnx", PASS, "22.50x"),
        ([row(runtime="openvino")], "dense float32, openvino", FAIL, "22.50x (r3d18 tucker 1/4 openvino)"),
        ([row(IMAGE)], "dense float32, openvino", NOT_RUN, ""),
        ([row(), noisy()], "onnxruntime, at the ratio asked for", FAIL, "1.88 (r3d18 1.88)"),
        (
            [row(), row(sqnr=20.0)],
            "onnxruntime, at the ratio asked for",
            NOT_RUN,
            "2.25 (r3d18 2.25); not measured: r3d18 tucker 1/4 onnxruntime",
        ),
        ([noisy(), row()], "3-D networks, float32 where", PASS, "30.5 dB (r3d18 tucker 1/4 onnx"),
        ([noisy(29.0)], "3-D networks, float32 where", FAIL, "1 of 1 below: r3d18 tucker 1/4 onnxruntime 29"),
        ([row(sqnr=20.0)], "3-D networks, float32 where", NOT_RUN, ""),
        (
            [noisy(), row(sqnr=20.0)],
            "3-D networks, float32 where",
            NOT_RUN,
            "not measured: r3d18 tucker 1/4 onnxruntime",
        ),
        ([noisy(29.0), row(sqnr=20.0)], "3-D networks, float32 where", FAIL, "below: r3d18"),
        (
            [row(sqnr=30.1), row(IMAGE, sqnr=20.0)],
            "3-D networks, all on",
            PASS,
            "30.1 dB (r3d18 tucker 1/4 onnx",
        ),
        (
            [row(sqnr=29.9), row()],
            "3-D networks, all",
            FAIL,
            "1 of 2 below: r3d18 tucker 1/4 onnxruntime 29.9 dB",
        ),
        ([row(IMAGE, sqnr=34.0)], "2-D networks, all", FAIL, "resnet18 cp 1/2 onnxruntime 34.0 dB"),
        ([row(TRAINED), row(plain=0.0)], "equalisation", PASS, "5.00 of 1 rows"),
        ([row(TRAINED, plain=34.0)], "equalisation", FAIL, "2.00 of 1 rows"),
        ([row(runtime="tflite")], "one XNNPACK partition", PASS, "1 in 1 rows"),
        ([row(operators=replace(INTEGERS, partitions=3))], "one XNNPACK partition", FAIL, "onnxruntime 3"),
        ([row(operators=Operators(9, 1))], "one XNNPACK partition", NOT_RUN, ""),
        ([row(operators=replace(INTEGERS, islands=2))], "islands", FAIL, "1 of 1 rows: r3d18"),
        ([row(operators=replace(INTEGERS, dynamic=1))], "dynamically", FAIL, "onnxruntime 1"),
        ([row(), row(IMAGE, error="no")], "could be measured", FAIL, "1 of 2"),
        (
            [row(runtime=runtime) for runtime in RUNTIMES] + [row(IMAGE)],
            "networks with rows",
            NOT_RUN,
            "1 of 7; not in all: thetis, c3d, r2plus1d18, resnet18, vgg16, mobilenetv2",
        ),
        (
            [row(Case(name, "cp", "1/4"), runtime) for name in NETWORKS for runtime in RUNTIMES],
            "networks with rows",
            PASS,
            "7 of 7",
        ),
    ],
)
def test_gates(rows, name, state, measured):
    found = gate(rows, name)
    assert found.state == state
    assert measured in found.measured


def test_tables_name_peers_kept_products_and_reasons():
    rows = [
        noisy(),
        row(beside={PEER: 6.0}, kept={"conv_7": "for 30 dB: 12.0 dB by itself"}, quiet=False),
        row(runtime="tflite", notes={UNPLANNED: "no such operator", "ai-edge-quantizer": "ValueError: a|b"}),
        Row(IMAGE, "openvino", 1, "k", error="killed"),
    ]
    text = markdown(rows, gates(rows, 1))
    assert "| r3d18 | tucker | 1/4 | 8.00x | 90.00 ms | 30.00 ms | 9.00 ms | 4.00 ms | 2.25x |" in text
    assert "| 36.0 | 31.0 | - | - | 100% | 3.60x | 100% of 20 | 1 | 1 |" in text
    assert (
        "| r3d18 tucker 1/4 onnxruntime | quantize_static | 6.00 ms | 1.50x | 1.50 to 1.50 | - | 36.0 |"
        in text
    )
    assert (
        "| r3d18 tucker 1/4 onnxruntime | 30 dB | 30.5 | 5 of 20 | 6.00 ms | 1.50x | 1.50 to 1.50 | 15.00x |"
        in text
    )
    assert "ValueError: a\\|b |" in text
    assert "- r3d18 tucker 1/4 onnxruntime: conv_7, for 30 dB: 12.0 dB by itself." in text
    assert "- r3d18 tucker 1/4 tflite, int8, not planned: no such operator" in text
    assert "more than 6 % of the CPU during: r3d18 tucker 1/4 onnxruntime" in text
    assert "- resnet18 cp 1/2 openvino: killed" in text
    for block in text.split("\n\n"):
        lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_cases_are_those_of_the_matrix_and_trained_ones():
    every = chosen(Selection(), quick=False)
    assert every == [*Selection().cases(quick=False), *TRAINED_CASES]
    small = chosen(Selection(), quick=True)
    assert {case.network for case in small} == {"thetis", "video_net", "image_net"}
    words = ("trained-r3d,resnet18", "cp", "", "1/4")
    picked = Selection.parse(*words, fresh=False, others=TRAINED_CASES)
    assert chosen(picked, quick=False) == [Case("resnet18", "cp", "1/4"), Case("trained-r3d", "cp", "1/4")]
    with pytest.raises(UsageError, match="unknown 'trained-r3d'"):
        Selection.parse(*words, fresh=False)


@pytest.mark.parametrize(("network", "expected"), [("thetis", 3), ("resnet18", 2), ("trained-r3d", 3)])
def test_axes_follow_from_the_input(network, expected):
    assert axes(network) == expected
    assert len(shape_of(network)) == expected + 2
