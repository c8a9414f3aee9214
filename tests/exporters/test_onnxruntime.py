import numpy as np
import onnx_ir as ir
import pytest
from support.eight_bits import clip, lowered, quantised, residual, samples
from support.graphs import Net
from support.networks import classifier

from tdedge.errors import UnsupportedError
from tdedge_exporters.lowering import Options, Target
from tdedge_exporters.onnxruntime import float_operators, integer_operators, lower
from tdedge_exporters.verify import random_inputs
from tdedge_runtimes.session import open_session


def test_minimal_form_loads_and_equals(tmp_path):
    model = classifier()
    lowered = lower(model, tmp_path, "float32", Options(minimal=True))
    assert [path.name for path in lowered.files] == ["model.onnx", "model.ort", "required_operators.config"]
    assert lowered.target == Target("onnxruntime")
    (feed,) = random_inputs(model, 3)
    outputs = []
    for path in lowered.files[:2]:
        with open_session("onnxruntime", path) as session:
            outputs.append(session.run(feed)["y"])
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-5 * np.abs(outputs[0]).max()


def test_operator_list_names_the_operators_and_no_path(tmp_path, capfd):
    folder = tmp_path / "a place"
    folder.mkdir()
    lower(classifier(), folder, "float32", Options(minimal=True))
    config = (folder / "required_operators.config").read_text()
    lines = [line for line in config.splitlines() if not line.startswith("#")]
    operators = {name for line in lines for name in line.split(";")[2].split(",")}
    assert {"GlobalAveragePool", "Flatten", "Gemm"} <= operators
    assert operators & {"Conv", "FusedConv"}
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
        assert b"a place" not in path.read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.onnx", "model.ort", "required_operators.config"
    ]  # fmt: skip
    assert capfd.readouterr() == ("", "")


def test_without_minimal_there_is_one_file(tmp_path):
    lower(classifier(), tmp_path, "float32")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_weights_are_written_as_they_are(tmp_path):
    model = classifier()
    lower(model, tmp_path, "float32")
    stored = ir.load(tmp_path / "model.onnx").graph.initializers
    for name, value in model.graph.initializers.items():
        assert stored[name].const_value.dtype == ir.DataType.FLOAT
        assert np.array_equal(stored[name].const_value.numpy(), value.const_value.numpy())


def test_graph_that_the_runtime_refuses(tmp_path):
    net = Net(1, 4)
    net.add("Relu", "x", name="y")
    model = net.model()
    next(iter(model.graph)).domain = "example.com"
    model.graph.opset_imports["example.com"] = 1
    with pytest.raises(UnsupportedError, match=r"onnxruntime: .*refuses it.*example\.com") as raised:
        lower(model, tmp_path, "float32")
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("name", ["residual", "clip"])
def test_int8_is_executed_on_integers(tmp_path, name):
    model = {"residual": residual, "clip": clip}[name]()
    made = lowered(model, tmp_path, "onnxruntime:int8")
    assert [path.name for path in made.files] == ["model-int8.onnx"]
    assert made.notes == ()
    found = integer_operators(made.entry)
    assert found["QLinearConv"] == 4
    assert found["QGemm"] == 1
    assert found.get("QLinearAdd", 0) == (name == "residual")
    assert found["QLinearGlobalAveragePool"] == 1
    assert float_operators(made.entry) == {}


def test_a_product_that_stays_float_is_found_and_noted(tmp_path):
    made = lower(quantised(residual(), keep=("n_y",)).model, tmp_path, "int8")
    assert integer_operators(made.entry)["QLinearConv"] == 4
    assert float_operators(made.entry) == {"n_y": "Gemm"}
    assert made.notes == ("ONNX Runtime computes 1 products in float32: n_y",)


def test_a_float_file_has_no_integer_operator(tmp_path):
    made = lower(residual(), tmp_path, "float32")
    assert integer_operators(made.entry) == {}
    assert len(float_operators(made.entry)) >= 5


def test_minimal_forms_of_two_precisions_stand_side_by_side(tmp_path):
    lower(residual(), tmp_path, "float32", Options(minimal=True))
    made = lowered(residual(), tmp_path, "onnxruntime:int8", minimal=True)
    names = ["model-int8.onnx", "model-int8.ort", "required_operators-int8.config"]
    assert [path.name for path in made.files] == names
    assert len(list(tmp_path.iterdir())) == 6
    (feed,) = samples(residual(), 1)
    values = []
    for path in made.files[:2]:
        with open_session("onnxruntime", path, precision="int8") as session:
            values.append(session.run(feed)["y"])
    assert np.abs(values[0] - values[1]).max() < 0.05 * np.abs(values[0]).max()
    weights = lower(residual(), tmp_path, "int8-weights", Options(minimal=True))
    assert [path.name for path in weights.files] == ["model-int8-weights.onnx"]
