import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.tflite.peephole import clean
from tdedge_exporters.tflite.program import Program, Tensor
from tdedge_exporters.tflite.tensors import TensorOps

_Activation = schema.ActivationFunctionType


def start() -> tuple[TensorOps, Tensor]:
    b = TensorOps()
    x = Tensor("x", (2, 3), np.dtype(np.float32))
    b.program.inputs = [("x", x)]
    return b, x


def codes(program: Program) -> list[str]:
    return [op.code for op in program.ops]


@pytest.mark.parametrize(
    ("code", "activation"),
    [("RELU", _Activation.RELU), ("RELU6", _Activation.RELU6), ("RELU_N1_TO_1", _Activation.RELU_N1_TO_1)],
)
def test_activation_goes_into_the_operator_before_it(code, activation):
    b, x = start()
    y = b.unary(code, b.binary("ADD", x, x))
    b.program.outputs = [("y", y)]
    clean(b.program)
    (op,) = b.program.ops
    assert op.code == "ADD"
    assert op.options.fusedActivationFunction == activation
    assert op.outputs == [y]


def test_second_activation_stays():
    b, x = start()
    b.program.outputs = [("y", b.unary("RELU6", b.unary("RELU", b.binary("MUL", x, x))))]
    clean(b.program)
    assert codes(b.program) == ["MUL", "RELU6"]
    assert b.program.ops[0].options.fusedActivationFunction == _Activation.RELU


def test_a_sum_that_others_read_stays():
    b, x = start()
    total = b.binary("ADD", x, x)
    b.program.outputs = [("y", b.unary("RELU", total)), ("z", b.binary("SUB", total, x))]
    clean(b.program)
    assert codes(b.program) == ["ADD", "RELU", "SUB"]


def test_a_sum_that_is_an_output_stays():
    b, x = start()
    total = b.binary("ADD", x, x)
    b.program.outputs = [("y", b.unary("RELU", total)), ("z", total)]
    clean(b.program)
    assert codes(b.program) == ["ADD", "RELU"]


def test_operators_that_cannot_activate_stay():
    b, x = start()
    b.program.outputs = [("y", b.unary("RELU", b.binary("MAXIMUM", x, x)))]
    clean(b.program)
    assert codes(b.program) == ["MAXIMUM", "RELU"]


def test_dead_operators_go():
    b, x = start()
    b.unary("RELU", b.binary("SUB", x, x))
    b.program.outputs = [("y", b.unary("TANH", x))]
    clean(b.program)
    assert codes(b.program) == ["TANH"]
