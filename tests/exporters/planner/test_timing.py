import onnx_ir as ir
import pytest
from support.eight_bits import clip, residual
from support.graphs import Net, ops

from tdedge_exporters.lowering import Target
from tdedge_exporters.openvino import products
from tdedge_exporters.planner.timing import lower_to_time, lower_trial
from tdedge_runtimes.session import open_session, random_inputs


@pytest.mark.parametrize("make", [residual, clip])
def test_an_integer_target_times_integers(tmp_path, make):
    found = ops(ir.load(lower_to_time(make(), tmp_path, Target("onnxruntime", "int8")).entry))
    assert found["QuantizeLinear"] > 5
    assert found["DequantizeLinear"] > found["Conv"] + found["Gemm"]


def test_any_other_times_the_graph_itself(tmp_path):
    model = residual()
    assert ops(ir.load(lower_to_time(model, tmp_path, Target("onnxruntime")).entry)) == ops(model)


def clip_trial():
    """A form between its adapters."""
    net = Net(1, 16, 4, 6, 6)
    net.conv(net.conv(net.conv("x", 4, 16, 1, 1, 1), 6, 4, 3, 3, 3, pads=1), 16, 6, 1, 1, 1, name="y")
    return net.model()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "tflite"])
def test_forms_on_integers_read_and_give_integers_but_in_onnx_runtime(tmp_path, runtime):
    target = Target(runtime, "int8")
    for lower, converts in ((lower_to_time, True), (lower_trial, runtime == "onnxruntime")):
        folder = tmp_path / lower.__name__
        folder.mkdir()
        with open_session(runtime, lower(clip_trial(), folder, target).entry, precision="int8") as session:
            ends = {info.dtype for info in (*session.inputs, *session.outputs)}
            assert ("float32" in ends) == converts
            assert session.run(random_inputs(session.inputs))


def test_the_products_of_such_a_form_stay_on_integers(tmp_path):
    entry = lower_trial(clip_trial(), tmp_path, Target("openvino", "int8")).entry
    assert list(products(entry).values()) == [True] * 3


@pytest.mark.parametrize("target", ["onnxruntime", "onnxruntime:int8-weights"])
def test_a_form_on_floats_is_lowered_as_it_is(tmp_path, target):
    with open_session(
        "onnxruntime", lower_trial(clip_trial(), tmp_path, Target.parse(target)).entry
    ) as session:
        assert {info.dtype for info in (*session.inputs, *session.outputs)} == {"float32"}
