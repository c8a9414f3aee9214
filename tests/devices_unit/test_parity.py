import numpy as np
import pytest

from tdedge.errors import UsageError
from tdedge_devices import parity
from tdedge_runtimes.client import run_job
from tdedge_runtimes.session import load_inputs, save_arrays

WANTED = {"y": np.array([1.0, -2.0, 4.0], np.float32), "n": np.array([1, 2])}


@pytest.mark.parametrize("name", ["base", "small"])
@pytest.mark.parametrize(("target", "file"), [("onnxruntime", "model.onnx"), ("tflite", "model.tflite")])
def test_every_target_of_an_artifact_passes_here(artifacts, name, target, file):
    found = parity.check(run_job, {"path": str(artifacts / name / file)}, artifacts / name, target)
    assert found["passed"]
    assert 0 <= found["max_rel"] < 1e-5
    assert [output["name"] for output in found["outputs"]] == ["y"]


def test_a_device_that_computes_otherwise_fails(artifacts):
    def wrong(job):
        result = run_job(job)
        outputs = load_inputs(job["outputs"])
        save_arrays(job["outputs"], {"y": outputs["y"] * np.float32(1.01)})
        return result

    spec = {"path": str(artifacts / "base" / "model.onnx")}
    found = parity.check(wrong, spec, artifacts / "base", "onnxruntime")
    assert not found["passed"]
    assert found["max_rel"] == pytest.approx(0.01, rel=1e-2)
    assert found["reason"].startswith("output 'y': 1.0e-02 of its scale, tolerance 1.0e-04")


def test_a_target_that_is_not_there_is_named(artifacts):
    with pytest.raises(UsageError, match="has no target openvino"):
        parity.check(run_job, {}, artifacts / "base", "openvino")


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        ({"y": WANTED["y"]}, "the device gives outputs ['y'], the network has ['n', 'y']"),
        ({**WANTED, "y": np.array([1.0, np.nan, 4.0], np.float32)}, "NaN or infinite"),
        ({**WANTED, "n": np.array([1, 3])}, "1 of 2 integers differ"),
        ({**WANTED, "y": WANTED["y"][:2]}, "shape (2,)"),
    ],
)
def test_other_outputs_fail_with_a_reason(actual, words):
    found = parity.compare(WANTED, actual, 1e-4)
    assert not found["passed"]
    assert words in found["reason"]


def test_the_tolerance_is_of_the_scale():
    near = {**WANTED, "y": WANTED["y"] + np.float32(3e-4)}
    assert parity.compare(WANTED, near, 1e-4)["passed"]
    assert not parity.compare(WANTED, near, 1e-5)["passed"]


def test_eight_bits_are_held_to_their_ratio():
    near = {**WANTED, "y": WANTED["y"] + np.float32(0.1), "n": np.array([2, 1])}  # 28.5 dB
    found = parity.compare(WANTED, near, None, 25.0)
    assert found["passed"]
    assert found["tolerance"] is None
    failed = parity.compare(WANTED, near, None, 30.0)
    assert not failed["passed"]
    assert failed["reason"].endswith("at least 30.0 dB expected")
