import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge_exporters.tflite.program import Tensor
from tdedge_exporters.tflite.tensors import TensorOps
from tdedge_exporters.tflite.writer import write


def evaluate(build, *arrays: np.ndarray) -> tuple[np.ndarray, TensorOps]:
    """``build(ops, *tensors)`` run by LiteRT; the same on constants must give the same."""
    b = TensorOps()
    inputs = [Tensor(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    b.program.inputs = [(t.name, t) for t in inputs]
    result = build(b, *inputs)
    result = (
        result
        if result not in inputs
        else b.emit("ABS", [b.emit("NEG", [result], result.shape)], result.shape)
    )
    b.program.outputs = [("y", result)]
    for index, tensor in enumerate({t for op in b.program.ops for t in (*op.inputs, *op.outputs)}):
        tensor.name = tensor.name or f"t{index}"
    interpreter = Interpreter(model_content=write(b.program, {}))
    interpreter.allocate_tensors()
    got = interpreter.get_signature_runner()(**{f"x{i}": a for i, a in enumerate(arrays)})["y"]
    folded = build(TensorOps(), *(TensorOps().constant(a, a.dtype) for a in arrays))
    assert folded.data is not None
    assert np.array_equal(folded.data, got)
    return got, b


def values(*shape: int) -> np.ndarray:
    return 1 + np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def codes(b: TensorOps) -> list[str]:
    return [op.code for op in b.program.ops]


@st.composite
def permuted(draw):
    shape = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6))
    return shape, draw(st.permutations(range(len(shape))))


@settings(max_examples=80, deadline=None)
@given(permuted())
def test_transpose(case):
    shape, perm = case
    x = values(*shape)
    got, b = evaluate(lambda ops, t: ops.transpose(t, perm), x)
    assert np.array_equal(got, x.transpose(perm))
    assert codes(b).count("TRANSPOSE") <= 1
    moved = [axis for axis in perm if shape[axis] > 1]
    assert ("TRANSPOSE" in codes(b)) == (moved != sorted(moved))


def test_transpose_makes_one_axis_of_neighbours():
    _, b = evaluate(lambda ops, t: ops.transpose(t, (0, 2, 3, 4, 1)), values(2, 3, 2, 2, 2))
    (op,) = [op for op in b.program.ops if op.code == "TRANSPOSE"]
    assert op.inputs[0].shape == (2, 3, 8)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.data())
def test_slice(size, data):
    begin = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(begin + 1, size))
    step = data.draw(st.integers(1, 4))
    x = values(2, size, 3)
    got, b = evaluate(lambda ops, t: ops.slice(t, 1, begin, end, step), x)
    assert np.array_equal(got, x[:, begin:end:step])
    assert "STRIDED_SLICE" not in codes(b)
    assert codes(b).count("SLICE") <= 1


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_pad_axis_and_concat_use_three_axes(axis):
    x = values(2, 3, 4, 5)
    got, b = evaluate(lambda ops, t: ops.concat([ops.pad_axis(t, axis, (1, 2)), t], axis), x)
    pads = [(0, 0)] * 4
    pads[axis] = (1, 2)
    assert np.array_equal(got, np.concatenate([np.pad(x, pads), x], axis))
    assert all(
        len(t.shape) == 3 for op in b.program.ops if op.code in ("PAD", "CONCATENATION") for t in op.outputs
    )


def test_padding_with_a_value():
    x = values(2, 2)
    got, b = evaluate(lambda ops, t: ops.pad(t, [(1, 0), (0, 2)], -3.0), x)
    assert np.array_equal(got, np.pad(x, [(1, 0), (0, 2)], constant_values=-3))
    assert codes(b) == ["PADV2"]


def test_many_are_joined_in_steps():
    parts = [values(1, i + 1) for i in range(12)]
    got, b = evaluate(lambda ops, *t: ops.concat(t, 1), *parts)
    assert np.array_equal(got, np.concatenate(parts, 1))
    assert all(len(op.inputs) <= 5 for op in b.program.ops if op.code == "CONCATENATION")


def test_views_of_views_are_one():
    b = TensorOps()
    x = Tensor("x", (2, 6), np.dtype(np.float32))
    once = b.reshape(x, (3, 4))
    assert b.reshape(b.reshape(once, (12,)), (2, 6)) is x
    assert b.reshape(b.reshape(x, (12,)), (3, 4)) is once
    assert codes(b) == ["RESHAPE", "RESHAPE"]


def test_nothing_is_done_for_nothing():
    b = TensorOps()
    x = Tensor("x", (2, 6), np.dtype(np.float32))
    assert b.pad(x, [(0, 0), (0, 0)]) is x
    assert b.pad_axis(x, 1, (0, 0)) is x
    assert b.slice(x, 1, 0, 6) is x
    assert b.concat([x], 0) is x
    assert b.transpose(x, (0, 1)) is x
    assert codes(b) == []


def test_equal_integers_are_one_constant():
    b = TensorOps()
    assert b.integers((1, 2)) is b.integers([1, 2])
    assert b.integers((1, 2)) is not b.integers((1, 2), (1, 2))
