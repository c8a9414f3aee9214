"""The worker with tflite-runtime 2.14, the last one of its name."""

import numpy as np
import pytest
from support.tflite_files import Op, Open, conv_bytes, tflite_bytes, write

from tdedge_runtimes.client import measure_models, profile_model, run_job
from tdedge_runtimes.errors import RuntimeInputError, RuntimeMissing
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.session import open_session, random_inputs

BRIEF = MeasureOptions(warmup_seconds=0.0, max_seconds=0.0, min_blocks=3, resamples=50)


@pytest.mark.parametrize("signature", [True, False], ids=["signature", "tensor names"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_both_runtimes_give_the_same_outputs(tmp_path, run_in_old_runtime, signature, dtype):
    path = write(tmp_path / "net.tflite", conv_bytes(8, signature=signature, dtype=dtype))
    with open_session("tflite", path) as session:
        feeds = random_inputs(session.inputs)
        expected = session.run(feeds)
    outputs = run_in_old_runtime(path, feeds)
    assert list(outputs) == list(expected)
    for name, value in expected.items():
        assert outputs[name].dtype == value.dtype
        assert np.abs(outputs[name] - value).max() <= 1e-5 * np.abs(value).max()


def test_it_is_measured_and_described_there(tmp_path, old_python):
    path = write(tmp_path / "net.tflite", conv_bytes(8))
    result = measure_models({"net": path}, BRIEF, python=old_python)
    versions = result["environment"]["versions"]
    assert (versions["numpy"], versions["tflite-runtime"]) == ("1.26.4", "2.14.0")
    assert versions["ai-edge-litert"] is None
    model = result["models"]["net"]
    assert model["latency"]["count"] == 6
    assert model["memory"]["own_heap_bytes"]["kind"] == "measured"
    execution = model["session"]["execution"]
    assert execution["provider"].startswith("XNNPACK")
    assert (execution["delegate_partitions"], execution["builtin_operators"]) == (1, 0)


def test_what_it_cannot_do_is_one_line(tmp_path, old_python):
    tensors = {"x": Open((1, 4)), "y": Open((1, 4))}
    data = tflite_bytes(tensors, [Op("CUSTOM:FlexErf", ["x"], ["y"])], ["x"], ["y"])
    path = write(tmp_path / "flex.tflite", data)
    with pytest.raises(RuntimeInputError, match="has no operator 'FlexErf'"):
        run_job({"kind": "memory", "model": {"path": str(path)}}, python=old_python)
    path = write(tmp_path / "net.tflite", conv_bytes(8))
    with pytest.raises(RuntimeMissing, match=r"but tflite-runtime 2\.14\.0 is installed"):
        profile_model(path, python=old_python)
