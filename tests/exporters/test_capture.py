import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.capturing import assert_static, graph_file

from tdedge.cost import network_cost
from tdedge.errors import UsageError
from tdedge_exporters.capture import OPSET, capture
from tdedge_exporters.reference import evaluate

LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))


def test_importing_capture_leaves_torch_alone():
    code = "import sys, tdedge_exporters.capture; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_opset_9_networks_become_opset_18(path):
    captured = capture(path)
    model = captured.model
    assert (captured.kind, captured.name) == ("onnx", path.stem)
    assert model.opset_imports[""] == OPSET
    assert len(model.graph.inputs) == 1
    assert captured.notes == []
    assert_static(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert network_cost(model).macs > 1e8


def test_conversion_keeps_the_function(tmp_path):
    """Inner axes of Softmax and Unsqueeze changed their meaning between opsets."""
    weights = [numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")]
    nodes = [
        helper.make_node("Unsqueeze", ["w"], ["u"], axes=[0, 2]),
        helper.make_node("Add", ["x", "u"], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"], axis=1),
    ]
    path = graph_file(tmp_path / "old.onnx", [2, 4, 3], opset=9, nodes=nodes, weights=weights)
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = evaluate(capture(path).model, {"x": x})["y"]
    assert np.abs(got - session.run(None, {"x": x})[0]).max() < 1e-6


@pytest.mark.parametrize("opset", [9, OPSET])
def test_large_weights_listed_as_inputs_are_constants(tmp_path, opset):
    weight = np.random.default_rng(0).standard_normal((3, 500)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 500]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "old.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3), path)
    captured = capture(path)
    assert [value.name for value in captured.model.graph.inputs] == ["x"]
    x = np.ones((2, 3), np.float32)
    assert np.allclose(evaluate(captured.model, {"x": x})["y"], x @ weight.astype(np.float64))


def test_newer_opset_is_kept_and_noted(tmp_path):
    captured = capture(graph_file(tmp_path / "new.onnx", [1, 2], opset=21))
    assert captured.model.opset_imports[""] == 21
    assert any("opset 21 is newer than 18" in note for note in captured.notes)
    with pytest.raises(UsageError, match="uses opset 27; at most 26"):
        capture(graph_file(tmp_path / "future.onnx", [1, 2], opset=27))


def test_dynamic_batch_becomes_one(tmp_path):
    captured = capture(graph_file(tmp_path / "a.onnx", ["batch", 3, 8]))
    assert captured.model.graph.inputs[0].shape.numpy() == (1, 3, 8)
    assert captured.model.graph.outputs[0].shape.numpy() == (1, 3, 8)
    assert captured.notes == ["input 'x': dynamic axis 0 (batch) fixed at 1"]


@pytest.mark.parametrize("name", ["x", ""])
def test_input_shape_fixes_every_axis(tmp_path, name):
    path = graph_file(tmp_path / "a.onnx", ["batch", 3, "time"])
    captured = capture(path, input_shapes={name: (4, 3, 9)})
    assert captured.model.graph.outputs[0].shape.numpy() == (4, 3, 9)
    assert captured.notes == []


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (None, r"input 'x': axis 2 \(time\) has no fixed size; pass --input-shape x=1,3,224,224"),
        ({"y": (1, 3, 4)}, r"names input 'y'; the network takes \['x'\]"),
        ({"x": (1, 3)}, "has 2 axes; the network declares"),
        ({"x": (1, 4, 4)}, "axis 1 is fixed at 3 by the network; got 4"),
    ],
)
def test_wrong_or_missing_shapes_are_explained(tmp_path, shapes, message):
    with pytest.raises(UsageError, match=message):
        capture(graph_file(tmp_path / "a.onnx", ["batch", 3, "time"]), input_shapes=shapes)


def test_one_symbol_has_one_size(tmp_path):
    with pytest.raises(UsageError, match=r"axis 1 \(n\) is 4, elsewhere 3"):
        capture(graph_file(tmp_path / "a.onnx", ["n", "n"]), input_shapes={"x": (3, 4)})
    captured = capture(graph_file(tmp_path / "b.onnx", ["n", "n"]), input_shapes={"x": (3, 3)})
    assert captured.model.graph.inputs[0].shape.numpy() == (3, 3)


def test_an_input_without_rank_needs_a_shape(tmp_path):
    path = graph_file(tmp_path / "a.onnx", None)
    with pytest.raises(UsageError, match="input 'x' has no shape; pass --input-shape x="):
        capture(path)
    assert capture(path, input_shapes={"": (2, 5)}).model.graph.outputs[0].shape.numpy() == (2, 5)


def test_sizes_computed_from_the_batch_become_static(tmp_path):
    weights = [
        numpy_helper.from_array(np.array(0), "zero"),
        numpy_helper.from_array(np.array([-1]), "rest"),
        numpy_helper.from_array(np.array([0]), "axes"),
    ]
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["u"]),
        helper.make_node("Concat", ["u", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    captured = capture(graph_file(tmp_path / "a.onnx", ["n", 3, 4], nodes=nodes, weights=weights))
    assert captured.model.graph.outputs[0].shape.numpy() == (1, 12)


def test_sizes_that_depend_on_data_are_refused(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(UsageError, match=r"'i' \(of NonZero node .*\) has no static shape"):
        capture(graph_file(tmp_path / "a.onnx", [2, 3], nodes=nodes))


def test_contradicting_shapes_are_refused(tmp_path):
    weights = [numpy_helper.from_array(np.ones((5, 2), np.float32), "w")]
    path = graph_file(
        tmp_path / "a.onnx", [2, 3], nodes=[helper.make_node("MatMul", ["x", "w"], ["y"])], weights=weights
    )
    with pytest.raises(UsageError, match="do not fit each other"):
        capture(path)


def test_local_functions_are_inlined(tmp_path):
    body = [helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Neg", ["r"], ["b"])]
    opset = helper.make_opsetid("", OPSET)
    function = helper.make_function("mine", "Twice", ["a"], ["b"], body, [opset])
    path = graph_file(
        tmp_path / "a.onnx",
        [2, 3],
        nodes=[helper.make_node("Twice", ["x"], ["y"], domain="mine")],
        imports=[opset, helper.make_opsetid("mine", 1)],
        functions=[function],
    )
    model = capture(path).model
    assert [node.op_type for node in model.graph] == ["Relu", "Neg"]
    assert not model.functions


def test_operators_of_other_domains_are_refused(tmp_path):
    path = graph_file(
        tmp_path / "a.onnx",
        [2, 3],
        nodes=[helper.make_node("Fused", ["x"], ["y"], domain="com.vendor", name="f1")],
        imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.vendor", 1)],
    )
    with pytest.raises(UsageError, match=r"node 'f1' is Fused of domain 'com.vendor'"):
        capture(path)


@pytest.mark.parametrize("op", ["RandomNormalLike", "BatchNormalization"])
def test_results_that_change_from_run_to_run_are_refused(tmp_path, op):
    ones = numpy_helper.from_array(np.ones(3, np.float32), "w")
    if op == "BatchNormalization":
        node = helper.make_node(op, ["x", "w", "w", "w", "w"], ["y", "m", "v"], training_mode=1, name="n1")
    else:
        node = helper.make_node(op, ["x"], ["y"], name="n1")
    path = graph_file(tmp_path / "a.onnx", [2, 3, 4], nodes=[node], weights=[ones])
    with pytest.raises(UsageError, match=rf"node 'n1' \({op}\).*evaluation mode"):
        capture(path)
