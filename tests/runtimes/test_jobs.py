"""The kinds of job, done in this process."""

import jsonschema
import numpy as np
import pytest

from tdedge_runtimes.client import result_schema
from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.jobs import do_job
from tdedge_runtimes.session import open_session

BRIEF = {"warmup_seconds": 0, "max_seconds": 0, "min_blocks": 3, "resamples": 50}


@pytest.fixture(scope="module")
def valid():
    schema = result_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).validate


def test_latency(nets, valid):
    models = {"small": {"path": str(nets / "small.onnx")}, "large": {"path": str(nets / "large.onnx")}}
    result = do_job({"kind": "latency", "models": models, "options": {**BRIEF, "per_block": 2}})
    valid(result)
    assert list(result["models"]) == ["small", "large"]
    for entry in result["models"].values():
        assert np.array(entry["latency"]["samples_ms"]).shape == (3, 2)
        assert entry["latency"]["count"] == 6
        assert entry["session"]["runtime"] == "onnxruntime"
    assert result["ratios"]["large"]["reference"] == "small"
    assert result["options"]["min_blocks"] == 3


def test_given_inputs_are_used(nets, tmp_path):
    """An open batch cannot be filled at random; with given inputs it is measured."""
    spec = {"path": str(nets / "open.onnx")}
    with pytest.raises(RuntimeInputError, match="give inputs"):
        do_job({"kind": "latency", "models": {"open": spec}, "options": BRIEF})
    np.savez(tmp_path / "x.npz", x=np.ones((2, 3, 12, 12), np.float32))
    spec["inputs"] = str(tmp_path / "x.npz")
    result = do_job({"kind": "latency", "models": {"open": spec}, "options": BRIEF})
    assert result["models"]["open"]["latency"]["count"] == 6


@pytest.mark.parametrize(
    ("runtime", "suffix"),
    [("onnxruntime", ".onnx"), ("openvino", ".onnx"), ("openvino", ".xml"), ("tflite", ".tflite")],
)
def test_memory_of_the_baseline(valid, runtime, suffix):
    result = do_job({"kind": "memory", "model": {"baseline": suffix, "runtime": runtime}, "runs": 2})
    valid(result)
    assert result["model"]["file"] == f"baseline{suffix}"
    assert result["model"]["memory"]["peak_rss_bytes"]["value"] > 10 * 2**20
    assert result["model"]["memory"]["heap_bytes"]["value"] > 2**20


@pytest.mark.parametrize(("runtime", "suffix"), [("onnxruntime", ".xml"), ("tflite", ".onnx")])
def test_a_baseline_of_another_runtime_is_refused(runtime, suffix):
    with pytest.raises(RuntimeInputError, match="cannot load"):
        do_job({"kind": "memory", "model": {"baseline": suffix, "runtime": runtime}})


def test_run_writes_the_outputs(nets, tmp_path, valid):
    x = np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    job = {"kind": "run", "model": {"path": str(nets / "small.onnx")}}
    result = do_job({**job, "inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "out.npz")})
    valid(result)
    with open_session("onnxruntime", nets / "small.onnx") as session:
        expected = session.run({"x": x})["y"]
    with np.load(tmp_path / "out.npz") as written:
        assert written.files == ["y"]
        assert np.array_equal(written["y"], expected)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({}, "unknown kind of job None; expected one of latency, memory, run, profile, environment, load"),
        ({"kind": "latency"}, "models is None; expected a JSON object"),
        ({"kind": "latency", "models": {}}, "there is no model to measure"),
        ({"kind": "latency", "models": {"a": "x.onnx"}}, "model 'a' is 'x.onnx'; expected a JSON object"),
        ({"kind": "latency", "models": {"a": {}}}, "a model needs either 'path'"),
        ({"kind": "latency", "models": {"a": {"path": "x", "rank": 3}}}, "a model has no key 'rank'"),
        ({"kind": "latency", "models": {}, "model": {}}, "a latency job has no key 'model'"),
        ({"kind": "memory", "model": {"baseline": ".onnx", "path": "x"}}, "a model needs either"),
        ({"kind": "memory", "model": {"path": "x.onnx"}, "runs": 0}, "runs is 0"),
        ({"kind": "memory", "model": {"path": "x.pb"}}, "no runtime reads 'x.pb'"),
        ({"kind": "run", "model": {"path": "x.onnx"}, "inputs": "i.npz"}, "needs 'outputs'"),
        ({"kind": "memory", "options": []}, "options is []; expected a JSON object"),
    ],
)
def test_wrong_jobs_are_named(job, message):
    with pytest.raises(RuntimeInputError) as raised:
        do_job(job)
    assert message in raised.value.message


def test_outputs_that_cannot_be_written(nets, tmp_path):
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 3, 12, 12), np.float32))
    job = {"kind": "run", "model": {"path": str(nets / "small.onnx")}, "inputs": str(tmp_path / "in.npz")}
    with pytest.raises(RuntimeInputError, match="cannot write"):
        do_job({**job, "outputs": str(tmp_path / "no" / "out.npz")})
