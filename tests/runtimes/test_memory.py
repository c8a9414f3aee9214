"""Memory figures from written texts, and the baseline models checked by onnx and every runtime."""

import numpy as np
import onnx
import pytest
from support.tflite_files import relu_bytes

from tdedge_runtimes.memory import (
    FIGURES,
    baseline_model,
    baseline_suffix,
    own_memory,
    parse_status,
    read_heap,
    read_memory,
)
from tdedge_runtimes.session import open_session

STATUS = "Name:\tpython\nVmHWM:\t   65432 kB\nVmRSS:\t   60000 kB\nRssAnon:\t    1000 kB\n"


def test_fields_are_bytes():
    assert parse_status(STATUS, "VmHWM") == 65432 * 1024


@pytest.mark.parametrize("text", ["", "VmHWM:\t 5\n", "VmHWMX:\t 5 kB\n", "VmHWM: 5 MB\n"])
def test_other_lines_are_refused(text):
    with pytest.raises(ValueError, match="line"):
        parse_status(text, "VmHWM")


def test_a_missing_field_spares_the_other(tmp_path):
    (tmp_path / "status").write_text("VmHWM: 2 kB\n")
    figures = read_memory(tmp_path / "status")
    assert figures["peak_rss_bytes"]["value"] == 2048
    assert figures["anonymous_bytes"]["value"] is None
    assert "RssAnon" in figures["anonymous_bytes"]["reason"]


def test_shared_pages_count_by_their_parts(tmp_path):
    (tmp_path / "status").write_text(STATUS)
    (tmp_path / "smaps_rollup").write_text("55d0-7ffe ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss:  512 kB\n")
    assert read_memory(tmp_path / "status")["pss_bytes"]["value"] == 512 * 1024
    mine = read_memory()
    assert 0 < mine["pss_bytes"]["value"] <= mine["peak_rss_bytes"]["value"]


def test_no_proc_is_a_reason(tmp_path):
    figures = read_memory(tmp_path / "absent" / "status")
    assert figures.pop("heap_bytes")["kind"] == "measured"
    assert "/proc/self/smaps_rollup" in figures.pop("pss_bytes")["reason"]
    assert set(figures) == {"peak_rss_bytes", "anonymous_bytes"}
    assert {figure["value"] for figure in figures.values()} == {None}
    assert all("/proc/self/status" in figure["reason"] for figure in figures.values())


def test_the_peak_grows_with_what_is_touched():
    before = read_memory()["peak_rss_bytes"]["value"]
    block = np.ones(64 * 2**20, dtype=np.uint8)
    after = read_memory()
    assert block.all()
    assert after["anonymous_bytes"]["value"] >= 60 * 2**20
    assert after["peak_rss_bytes"]["value"] >= max(before, 64 * 2**20)


@pytest.mark.parametrize("size", [64 * 1024, 64 * 2**20], ids=["in an arena", "in a mapping"])
def test_the_heap_is_what_is_given_out(size):
    """Also what was never touched: the blocks are not written to."""
    before = read_heap()["value"]
    blocks = [np.empty(size, dtype=np.uint8) for _ in range(8)]
    held = read_heap()["value"] - before
    given_back = 2**14  # by other threads of this process, meanwhile
    assert 8 * size - given_back <= held <= 8 * size + 2**20
    del blocks
    assert abs(read_heap()["value"] - before) < 2**20


def test_a_system_without_this_allocator_is_a_reason():
    figure = read_heap("libabsent.so.0")
    assert figure["value"] is None
    assert "mallinfo2" in figure["reason"]


def test_own_is_the_difference(tmp_path):
    (tmp_path / "model").write_text(STATUS)
    (tmp_path / "base").write_text(STATUS.replace("65432", "60000"))
    figures = own_memory(read_memory(tmp_path / "model"), read_memory(tmp_path / "base"))
    assert figures["peak_rss_bytes"]["value"] == 65432 * 1024
    assert figures["own_peak_rss_bytes"] == {"value": 5432 * 1024, "unit": "bytes", "kind": "measured"}
    assert figures["own_anonymous_bytes"]["value"] == 0


def test_own_without_a_baseline_is_a_reason(tmp_path):
    (tmp_path / "model").write_text(STATUS)
    figures = own_memory(read_memory(tmp_path / "model"), read_memory(tmp_path / "absent" / "status"))
    assert set(figures) == {*FIGURES, *(f"own_{name}" for name in FIGURES)}
    assert figures["own_peak_rss_bytes"]["value"] is None
    assert "/proc/self/status" in figures["own_peak_rss_bytes"]["reason"]


def test_the_baseline_is_one_relu():
    model = onnx.load_from_string(baseline_model(".onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Relu"]
    assert (model.ir_version, model.opset_import[0].version) == (8, 18)


def test_the_baseline_is_one_relu_for_litert_too():
    assert baseline_model(".tflite") == relu_bytes()


@pytest.mark.parametrize(
    ("runtime", "suffix"),
    [
        ("onnxruntime", ".onnx"),
        ("onnxruntime", ".ort"),
        ("openvino", ".onnx"),
        ("openvino", ".xml"),
        ("tflite", ".tflite"),
        ("tflite", ".TFLITE"),
    ],
)
@pytest.mark.parametrize("value", [-2.0, 3.0])
def test_every_runtime_runs_the_baseline(tmp_path, runtime, suffix, value):
    path = tmp_path / f"baseline{baseline_suffix(suffix)}"
    path.write_bytes(baseline_model(suffix))
    with open_session(runtime, path) as session:
        outputs = session.run({"x": np.array([value], dtype=np.float32)})
    assert outputs["y"].tolist() == [max(0.0, value)]
