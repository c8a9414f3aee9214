import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tdedge.errors import UnsupportedError
from tdedge_exporters.tflite import writer
from tdedge_exporters.tflite.program import Program, Scales, Tensor
from tdedge_exporters.tflite.tensors import TensorOps
from tdedge_exporters.tflite.writer import write


@pytest.fixture
def program() -> Program:
    """y = (x + a) + b with a and b equal, z = gelu(y): an operator whose code needs the wider field."""
    b = TensorOps()
    x = Tensor("x", (2, 3), np.dtype(np.float32))
    b.program.inputs = [("in", x)]
    first, second = (b.constant(np.arange(3.0)) for _ in range(2))
    first.name, second.name = "a", "b"
    y = b.binary("ADD", b.binary("ADD", x, first), second)
    z = b.unary("GELU", y, schema.GeluOptionsT())
    b.program.outputs = [("sum", y), ("wide", z)]
    for index, op in enumerate(b.program.ops):
        op.outputs[0].name = f"t{index}"
    return b.program


def model_of(content: bytes):
    return schema.ModelT.InitFromPackedBuf(content)


def test_file_runs_by_the_names_of_its_signature(program):
    interpreter = Interpreter(model_content=write(program, {}))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["in"], "outputs": ["sum", "wide"]}
    }
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    got = interpreter.get_signature_runner()(**{"in": x})
    assert np.array_equal(got["sum"], x + 2 * np.arange(3))


def test_header_and_codes(program):
    content = write(program, {})
    assert content[4:8] == b"TFL3"
    model = model_of(content)
    assert model.version == 3
    codes = {code.builtinCode: code for code in model.operatorCodes}
    assert set(codes) == {schema.BuiltinOperator.ADD, schema.BuiltinOperator.GELU}
    assert codes[schema.BuiltinOperator.ADD].deprecatedBuiltinCode == schema.BuiltinOperator.ADD
    assert codes[schema.BuiltinOperator.GELU].deprecatedBuiltinCode == 127
    assert all(code.version == 1 for code in model.operatorCodes)


def test_buffers_are_aligned_shared_and_begin_with_the_empty_one(program):
    content = write(program, {"about": b"tdedge", "none": b""})
    read = schema.Model.GetRootAs(content, 0)
    assert read.Buffers(0).DataLength() == 0
    sizes = [read.Buffers(i).DataLength() for i in range(read.BuffersLength())]
    assert sizes == [0, 12, 6]
    for index in range(1, read.BuffersLength()):
        table = read.Buffers(index)._tab
        assert table.Vector(table.Offset(4)) % 16 == 0


def test_metadata(program):
    model = model_of(write(program, {"about": b"tdedge"}))
    (entry,) = model.metadata
    assert entry.name == b"about"
    assert bytes(model.buffers[entry.buffer].data) == b"tdedge"


def test_equal_programs_are_equal_files(program):
    assert write(program, {"a": b"1"}) == write(program, {"a": b"1"})


def test_too_many_constants(program, monkeypatch):
    monkeypatch.setattr(writer, "_MOST_BYTES", 50)
    with pytest.raises(UnsupportedError, match=r"of constants; a .tflite file holds less than 2 GiB"):
        write(program, {})


def test_what_integers_stand_for(program):
    (_, x), (_, y) = program.inputs[0], program.outputs[0]
    x.scales = Scales(np.array([0.5], np.float32), -3)
    y.scales = Scales(np.array([0.5, 1, 2], np.float32), axis=1)
    tensors = {t.name.decode(): t.quantization for t in model_of(write(program, {})).subgraphs[0].tensors}
    assert (list(tensors["x"].scale), list(tensors["x"].zeroPoint)) == ([0.5], [-3])
    assert (list(tensors["t1"].scale), list(tensors["t1"].zeroPoint)) == ([0.5, 1, 2], [0, 0, 0])
    assert tensors["t1"].quantizedDimension == 1
    assert tensors["a"] is None
