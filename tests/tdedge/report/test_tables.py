import pytest
from support.counted import Counted
from support.networks import save_classifier
from support.rendered import shown
from support.results import comparison

from tdedge.plan import make_plan
from tdedge.report import tables
from tdedge_exporters.export import export
from tdedge_exporters.inspection import inspect_network
from tdedge_exporters.planner.plan import from_json
from tdedge_exporters.prepare import Source


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    path = save_classifier(tmp_path_factory.mktemp("net") / "net.onnx")
    return inspect_network(Source(path), make_plan("tucker", ratio=0.5, keep=["n_a"]), rewrites=True)


def test_costs_with_ratios_to_the_first(inspected):
    lines = shown(tables.costs(inspected.costs))
    assert any(line.startswith("dense 1,140 44,976 ") for line in lines)
    ratios = inspected.ratios
    assert any(line.startswith(f"fewer {ratios['params']:.2f}x {ratios['macs']:.2f}x") for line in lines)


def test_layers_share_the_macs(inspected):
    lines = shown(tables.layers(inspected.costs["dense"]))
    (row,) = [line for line in lines if line.startswith("n_c")]
    assert row == "n_c Conv 1x12x6x6 864 31,104 69.2%"


def test_compression_says_what_was_kept_and_why(inspected):
    lines = shown(tables.compression(inspected.prepared.compression))
    assert any(line.startswith("n_a - -") and "the plan keeps it" in line for line in lines)
    (row,) = [line for line in lines if line.startswith("n_c")]
    assert row.startswith("n_c tucker 4,6 864 > ")


def test_rewrites_name_pass_node_and_reason(inspected):
    lines = shown(tables.rewrites(inspected.records))
    record = inspected.records[0]
    assert any(record.pass_name in line and ("done" if record.changed else "left") in line for line in lines)


def test_parity_and_compression_error_are_two_tables(tmp_path):
    source = save_classifier(tmp_path / "net.onnx")
    plain = export(source, tmp_path / "a", to="onnxruntime").manifest
    small = export(source, tmp_path / "b", to="onnxruntime", plan=make_plan("tucker", ranks=[1, 1])).manifest
    assert not any("Compression error" in line for line in shown(tables.parity(plain)))
    lines = shown(tables.parity(small))
    middle = next(i for i, line in enumerate(lines) if "Compression error" in line)
    (parity,) = [line for line in lines[:middle] if line.startswith("onnxruntime y")]
    assert parity.endswith("passed")
    (error,) = [line for line in lines[middle:] if line.startswith("y ")]
    assert not error.endswith(("passed", "FAILED"))


def test_plan_of_a_target_chain_by_chain(tmp_path):
    piece = {
        "units": ["conv1", "conv2"], "form": "packed.2x2", "reads": "native", "gives": "last",
        "cost_ms": 1.5, "kind": "measured",
        "rejected": [
            {"units": [name], "form": "plain.factor", "reads": "native", "gives": "native", "plain": True,
             "cost_ms": 2.0, "gap_ms": 2.5, "reason": "slower by 2.500 ms in place"}
            for name in ("conv1", "conv2")
        ],
    }  # fmt: skip
    alone = {
        "units": ["flatten"],
        "form": "plain.opaque",
        "reads": "native",
        "gives": "native",
        "plain": True,
    }
    plan = from_json(
        {
            "target": "onnxruntime", "runtime_version": "1.2", "machine": "m", "threads": 2, "effort": "low",
            "kept": "planned", "why": "the planned network is faster: 2.00 ms, plain 5.00 ms",
            "pieces": [piece, alone],
        }
    )  # fmt: skip
    lines = shown(tables.target_plan(plan))
    assert lines[0] == "Plan for onnxruntime 1.2, 2 threads, effort low: planned kept"
    (row,) = [line for line in lines if line.startswith("conv1 ... conv2")]
    assert row.startswith(
        "conv1 ... conv2 3 3 4.00 ms 1.50 ms conv1 + conv2: packed.2x2 (native to last) next"
    )
    assert not any("flatten" in line for line in lines)
    assert lines[-1] == plan.why


def test_plans_side_by_side(tmp_path):
    source = save_classifier(tmp_path / "net.onnx")
    given = {"to": "onnxruntime,tflite", "effort": "low", "cost_table": tmp_path / "c"}
    manifest = export(source, tmp_path / "a", **given, measure=Counted(planned=1e3)).manifest
    lines = shown(tables.plans(manifest))
    for entry in manifest.targets:
        (row,) = [line for line in lines if line.startswith(entry.target)]
        assert row.startswith(f"{entry.target} 0 of {entry.plan.pieces} parts")
        assert row.endswith("plain")


def test_reports_share_one_table():
    output = {"name": "y", "max_abs": 1e-3, "max_rel": None, "sqnr_db": 60.0, "top1_agreement": 0.75}
    reports = {
        "onnxruntime": {"outputs": [{**output, "passed": True}, {**output, "name": "z", "passed": False}]},
        "[red]file.xml": {"outputs": [], "reason": "the target has outputs ['q']"},
    }
    lines = shown(tables.parity_reports(reports))
    assert sum(line == "Parity" for line in lines) == 1
    assert "onnxruntime y 1.0e-03 - 60.0 dB 75% passed" in lines
    assert "onnxruntime z 1.0e-03 - 60.0 dB 75% FAILED" in lines
    assert "[red]file.xml - - - - - FAILED" in lines


def test_comparison_row_by_row():
    lines = shown(tables.comparison(comparison(parities={"small": 3e-7})))
    assert lines[0] == "onnxruntime, 1 thread"
    assert "dense - - 8.00 ms ± 0.25 - - - 8.0 MiB -" in lines
    assert "small 4.00x 4.00x 4.00 ms ± 0.25 2.00x 1.80 to 2.20 0.50 4.0 MiB 3.0e-07" in lines
    assert shown(tables.comparison(comparison(threads=2)))[0] == "onnxruntime, 2 threads"


def test_summary_has_a_row_per_target():
    runs = [comparison(), comparison(target="openvino", memory=False)]
    lines = shown(tables.summary(runs, {"openvino": 2e-6}))
    assert "onnxruntime 4.00x 4.00x 2.00x 0.50 8.00 ms > 4.00 ms 8.0 MiB > 4.0 MiB -" in lines
    assert "openvino 4.00x 4.00x 2.00x 0.50 8.00 ms > 4.00 ms - > - 2.0e-06" in lines
