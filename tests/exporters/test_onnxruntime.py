import numpy as np
import onnx_ir as ir
import pytest
from support.graphs import Net
from support.networks import classifier

from tdedge.errors import UnsupportedError
from tdedge_exporters.lowering import Options, Target
from tdedge_exporters.onnxruntime import lower
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
