"""What is particular to OpenVINO."""

import numpy as np
import pytest

from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.openvino import _hint
from tdedge_runtimes.privacy import import_openvino
from tdedge_runtimes.session import open_session, random_inputs


@pytest.fixture
def ir(nets, tmp_path):
    openvino = import_openvino()
    model = openvino.Core().read_model(str(nets / "small.onnx"))
    openvino.save_model(model, str(tmp_path / "small.xml"), compress_to_fp16=False)
    return tmp_path / "small.xml"


def test_its_own_files_give_the_outputs_of_onnxruntime(nets, ir):
    with open_session("openvino", ir) as ours, open_session("onnxruntime", nets / "small.onnx") as other:
        inputs = random_inputs(other.inputs)
        assert (ours.inputs, ours.outputs) == (other.inputs, other.outputs)
        got, expected = ours.run(inputs)["y"], other.run(inputs)["y"]
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_float32_is_in_force_whatever_the_processor_prefers(nets):
    with open_session("openvino", nets / "small.onnx", threads=2) as session:
        execution = session.describe()["execution"]
    assert execution["precision"] == "float32"
    assert (execution["streams"], execution["inference_threads"]) == (1, 2)
    assert execution["performance_hint"] == "LATENCY"


def test_an_asked_for_precision_reaches_the_runtime(nets):
    """Whether float16 is in force depends on the processor; the outputs stay near float32 either way."""
    with open_session("openvino", nets / "small.onnx") as full:
        inputs = random_inputs(full.inputs)
        expected = full.run(inputs)["y"]
    with open_session("openvino", nets / "small.onnx", precision="float16") as half:
        assert half.describe()["execution"]["precision"] in ("float16", "float32")
        got = half.run(inputs)["y"]
    assert np.abs(got - expected).max() <= 2e-2 * np.abs(expected).max()


def test_an_open_shape_is_refused(nets):
    with pytest.raises(RuntimeInputError, match=r"'x' has the shape \[.*\]; fix the shape on export"):
        open_session("openvino", nets / "open.onnx")


def test_bfloat16_is_in_force_where_the_processor_has_it_and_refused_elsewhere(nets):
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in capabilities:
        with pytest.raises(RuntimeInputError, match="this processor has no bfloat16"):
            open_session("openvino", nets / "small.onnx", precision="bfloat16")
        return
    with open_session("openvino", nets / "small.onnx") as full:
        inputs = random_inputs(full.inputs)
        expected = full.run(inputs)["y"]
    with open_session("openvino", nets / "small.onnx", precision="bfloat16") as short:
        assert short.describe()["execution"]["precision"] == "bfloat16"
        got = short.run(inputs)["y"]
    gap = np.abs(got - expected).max() / np.abs(expected).max()
    assert 1e-5 < gap <= 5e-2


class AnotherProcessor:
    """What OpenVINO says of a processor without short floats."""

    def get_property(self, device, key):
        assert (device, key) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return ["FP32", "INT8"]


def test_what_a_processor_lacks_is_not_asked_for():
    with pytest.raises(
        RuntimeInputError, match=r"no bfloat16 \(OpenVINO lists FP32, INT8\); use float32 or int8"
    ):
        _hint(AnotherProcessor(), "bfloat16")
    assert [_hint(AnotherProcessor(), p) for p in ("float32", "float16", "int8", "int8-weights")] == [
        "f32"
    ] * 4
