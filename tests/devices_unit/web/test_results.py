"""From a page's answer to the document of a job: the same shape as the worker's, and nothing made up."""

import copy

import jsonschema
import pytest

from tdedge.errors import DeviceError
from tdedge_devices.web import results
from tdedge_devices.web.posts import Result, as_json
from tdedge_runtimes.client import result_schema
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.memory import own_memory

OPTIONS = MeasureOptions(min_blocks=2, per_block=2)
FACTS = {
    "user_agent": "a browser",
    "platform": "iPhone",
    "secure_context": False,
    "isolated": False,
    "threads": False,
    "hardware_concurrency": 4,
    "device_memory_gib": None,
    "clock_step_ms": 1.0,
    "gpu": None,
    "gpu_missing": "none",
}


def model(samples, first_ms):
    tensor = {"name": "x", "shape": [1, 3], "dtype": "float32"}
    execution = {"provider": "WebAssembly"}
    return {
        "session": {
            "runtime": "onnxruntime",
            "package": "onnxruntime-web",
            "version": "1",
            "threads": 1,
            "execution": execution,
        },
        "inputs": [tensor],
        "outputs": [tensor],
        "load_ms": 5.0,
        "first_ms": first_ms,
        "calls_per_sample": 25,
        "samples_ms": samples,
    }


@pytest.fixture
def posted():
    document = {
        "facts": FACTS,
        "versions": {"onnxruntime-web": "1"},
        "models": {
            "dense": model([[8.0, 8.0], [8.0, 8.0]], 9.0),
            "small": model([[2.0, 2.0], [2.0, 2.0]], 0.0),
        },
        "orders": [["dense", "small"], ["small", "dense"]],
        "window_s": 1.5,
        "hidden": False,
    }
    return as_json(Result.model_validate(document))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"model")
    return dict.fromkeys(("dense", "small"), tmp_path / "net.onnx")


def test_a_latency_document_is_the_workers(posted, files):
    result = results.latency(posted, files, OPTIONS)
    jsonschema.validate(result, result_schema())
    assert result["ratios"]["small"]["speedup"]["value"] == 4.0
    assert result["models"]["small"]["latency"]["median_ms"] == 2.0
    assert result["models"]["small"]["latency"]["calls_per_sample"] == 25
    assert result["models"]["small"]["file_bytes"] == 5
    assert result["window"]["value"] == 1.5
    assert result["environment"]["browser"]["isolated"] is False
    assert result["environment"]["system"] == "iPhone"
    assert not result["quiet"]
    assert result["foreign_cpu"]["value"] is None


def test_a_time_below_the_clocks_step_is_no_figure(posted, files):
    result = results.latency(posted, files, OPTIONS)
    assert result["models"]["dense"]["first_inference"]["value"] == 9.0
    first = result["models"]["small"]["first_inference"]
    assert (first["value"], first["reason"]) == (
        None,
        "shorter than one step of this browser's clock, 1 ms",
    )


def test_memory_is_a_reason_and_can_be_subtracted(posted, files):
    single = {**posted, "models": {"model": posted["models"]["dense"]}}
    result = results.single(single, "memory", {"model": files["dense"]}, OPTIONS)
    jsonschema.validate(result, result_schema())
    figures = {name: f for name, f in result["model"]["memory"].items() if name != "method"}
    assert all(f["value"] is None and "JavaScript" in f["reason"] for f in figures.values())
    own = own_memory(figures, figures)
    assert own["own_peak_rss_bytes"]["value"] is None


def test_a_load_document_is_the_workers(posted, files):
    model = {**posted["models"]["dense"], "samples_ms": [[8.0, 8.0], [9.0, 9.0]]}
    told = {"begin_ms": 1.7e12, "end_ms": 1.7e12 + 1000, "inferences": 100}
    answer = {**posted, "models": {"model": model}, "load": told}
    result = results.load(answer, {"model": files["dense"]}, OPTIONS)
    jsonschema.validate(result, result_schema())
    assert result["load"]["end_ns"] - result["load"]["begin_ns"] == 1_000_000_000
    assert result["load"]["latency"]["median_ms"] == 8.5
    for wrong in (
        {**answer, "load": None},
        {**answer, "models": {"model": {**model, "samples_ms": [[1.0]]}}},
    ):
        with pytest.raises(DeviceError, match="without whole rows"):
            results.load(wrong, {"model": files["dense"]}, OPTIONS)


def test_samples_of_a_hidden_page_are_refused(posted, files):
    with pytest.raises(DeviceError, match="hidden whenever it measured; keep it in front"):
        results.latency({**posted, "hidden": True}, files, OPTIONS)


def test_a_run_document_is_the_workers(posted, files):
    single = {**posted, "models": {"model": posted["models"]["dense"]}}
    jsonschema.validate(results.single(single, "run", {"model": files["dense"]}, OPTIONS), result_schema())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["models"].pop("small"), "answered for dense; expected dense, small"),
        (lambda p: p["orders"].pop(), "measured 1 whole blocks; expected at least 2"),
        (lambda p: p.update(orders=None), "measured 0 whole blocks"),
        (lambda p: p["orders"][0].pop(), "whole blocks"),
        (lambda p: p["models"]["small"]["samples_ms"].pop(), "'small' do not fill its 2 blocks"),
        (lambda p: p["models"]["small"]["samples_ms"][0].pop(), "'small' do not fill its 2 blocks"),
        (lambda p: p["models"]["small"].update(samples_ms=None), "'small' do not fill"),
        (lambda p: p["models"]["small"]["samples_ms"][0].__setitem__(0, 0.0), "not all greater than zero"),
    ],
)
def test_samples_that_do_not_fit_the_job_are_refused(posted, files, change, message):
    wrong = copy.deepcopy(posted)
    change(wrong)
    with pytest.raises(DeviceError, match=message):
        results.latency(wrong, files, OPTIONS)
