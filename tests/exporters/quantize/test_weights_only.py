"""Weights of 8 bits: what is stored, what is computed, and that no runtime computes it twice."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from support.eight_bits import clip, residual, samples
from support.graphs import Net, ops, run

from tdedge.agreement import SQNR_FLOORS, agree
from tdedge_exporters.quantize.weights_only import quantize_weights

NETWORKS = {"residual": residual, "clip": clip}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_outputs_stay_near_those_of_float32(name):
    model = NETWORKS[name]()
    small = quantize_weights(model)
    feeds = samples(model, 4)
    wanted, got = ([run(each, feed["x"])[0] for feed in feeds] for each in (model, small))
    found = agree("y", wanted, got)
    assert found.sqnr_db > SQNR_FLOORS["int8-weights"] + 5
    assert found.max_abs > 0


def test_every_weight_is_within_half_a_step_of_its_channel():
    model = residual()
    small = quantize_weights(model)
    stored = small.graph.initializers
    for node in model.graph:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        weight = node.inputs[1].const_value.numpy()
        whole = stored[f"{node.inputs[1].name}/q"].const_value.numpy()
        scales = stored[f"{node.inputs[1].name}/scales"].const_value.numpy()
        assert whole.dtype == np.int8
        assert scales.shape == (len(weight), *(1,) * (weight.ndim - 1))
        assert (np.abs(whole * scales - weight) <= scales * 0.501).all()
        assert node.inputs[1].name not in stored
    assert "Conv" in ops(model)
    assert "Cast" not in ops(model)


def test_the_file_is_about_a_quarter(tmp_path):
    net = Net(1, 64, 8, 8)
    net.conv("x", 64, 64, 3, 3, name="a")
    net.conv("a", 64, 64, 3, 3, name="y")
    model = net.model()
    ir.save(model, tmp_path / "float.onnx")
    ir.save(quantize_weights(model), tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").stat().st_size < 0.27 * (tmp_path / "float.onnx").stat().st_size


def test_the_runtime_widens_them_once(tmp_path):
    """What ONNX Runtime executes is the float32 network, node for node."""
    executed = []
    for name, model in (("float", residual()), ("small", quantize_weights(residual()))):
        ir.save(model, tmp_path / f"{name}.onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(tmp_path / "run.onnx")
        onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
        executed.append([node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node])
    assert executed[0] == executed[1]


def test_a_shared_weight_is_stored_once_and_one_read_elsewhere_is_left():
    net = Net(1, 8, 8, 8)
    kernel = net.weight(8, 8, 3, 3)
    other = net.weight(8, 8, 1, 1)
    net.conv("x", 8, 8, 3, 3, pads=1, weight=kernel, name="a")
    net.conv("a", 8, 8, 3, 3, pads=1, weight=kernel, name="b")
    net.conv("b", 8, 8, 1, 1, weight=other, name="c")
    net.add("ReduceSum", other, keepdims=0, name="s")
    net.add("Add", "c", "s", name="y")
    small = quantize_weights(net.model())
    assert ops(small)["Cast"] == ops(small)["Mul"] == 1
    assert other in small.graph.initializers
    assert kernel not in small.graph.initializers


def test_a_weight_of_one_number_per_channel_is_left():
    net = Net(1, 8, 4, 4)
    net.conv("x", 8, 8, 1, 1, groups=8, name="y")
    assert "Cast" not in ops(quantize_weights(net.model()))
