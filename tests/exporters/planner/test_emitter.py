"""Nodes with known shapes: every shape an emitter claims is the one that comes out."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import Net, ops, run
from support.planning import SETTINGS, sample, single

from tdedge.factor import ACTIVATIONS
from tdedge_exporters.planner.emitter import Emitter, shape_of


def value(*shape, name="x"):
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))


def result(shape, body):
    """What ``body`` makes of a random array, and the shape it claimed."""
    claimed = []

    def wrapped(e, x):
        y = body(e, x)
        claimed.append(shape_of(y))
        return e.op("Identity", [y], shape_of(y))

    x = sample(shape)
    (y,) = run(single(shape, wrapped), x)
    assert y.shape == claimed[0]
    return x, y


def test_names_are_fresh():
    e = Emitter(["a", "plan.relu"])
    assert [e.fresh("a"), e.fresh("a"), e.fresh("b")] == ["a_2", "a_3", "b"]
    x = value(2, 3)
    names = [e.op("Relu", [x], (2, 3)).name for _ in range(2)]
    assert names == ["plan.relu_2", "plan.relu_3"]
    e.stem = "conv1.packed"
    assert e.constant(np.zeros(2)).name == "conv1.packed.constant"


def test_equal_lists_are_one_initializer():
    e = Emitter()
    assert e.integers([1, 2]) is e.integers((1, 2))
    assert e.integers([1]) is not e.integers([1, 2])
    assert len(e.constants) == 2


def test_constants_take_the_type_of_what_they_meet():
    e = Emitter()
    half = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT16), shape=ir.Shape((2,)))
    assert e.constant(np.zeros(3), half).dtype == ir.DataType.FLOAT16
    assert e.constant(np.zeros(3)).dtype == ir.DataType.DOUBLE


@pytest.mark.parametrize(
    "body",
    [
        lambda e, x: e.reshape(x, shape_of(x)),
        lambda e, x: e.transpose(x, (0, 1, 2)),
        lambda e, x: e.slice(x, 1, 0, 9),
        lambda e, x: e.concat([x], 1),
        lambda e, x: e.pad(x, [(0, 0)] * 3),
        lambda e, x: e.activation(x, None),
    ],
)
def test_what_changes_nothing_emits_nothing(body):
    e, x = Emitter(), value(2, 4, 5)
    assert body(e, x) is x
    assert e.nodes == []


@SETTINGS
@given(st.permutations(range(4)), st.lists(st.sampled_from([1, 1, 2, 3]), min_size=4, max_size=4))
def test_transpose(perm, shape):
    x, y = result(tuple(shape), lambda e, x: e.transpose(x, perm))
    assert np.array_equal(y, x.transpose(perm))


@SETTINGS
@given(st.integers(0, 4), st.integers(1, 9), st.integers(1, 3))
def test_slice(begin, length, step):
    x, y = result((2, 5, 3), lambda e, x: e.slice(x, 1, begin, begin + length, step))
    assert np.array_equal(y, x[:, begin : begin + length : step])


@SETTINGS
@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 2)), min_size=3, max_size=3))
def test_pads_may_crop(pads):
    x, y = result((3, 4, 5), lambda e, x: e.pad(x, pads))
    wide = np.pad(x, [(max(b, 0), max(a, 0)) for b, a in pads])
    cut = tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(pads, wide.shape, strict=True))
    assert np.array_equal(y, wide[cut])


def test_concat_matmul_and_broadcasting():
    x, y = result((2, 3, 4), lambda e, x: e.concat([x, x, e.constant(np.ones((2, 1, 4)), x)], 1))
    assert np.array_equal(y, np.concatenate([x, x, np.ones((2, 1, 4))], 1))
    w = np.random.default_rng(0).standard_normal((4, 5))
    x, y = result((2, 3, 4), lambda e, x: e.matmul(x, e.constant(w, x)))
    np.testing.assert_allclose(y, x @ w, rtol=1e-5, atol=1e-5)
    x, y = result((2, 1, 4), lambda e, x: e.binary("Add", x, e.constant(np.ones((3, 1)), x)))
    assert np.array_equal(y, x + np.ones((3, 1), np.float32))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x, y = result((4, 50), lambda e, x: e.activation(x, name))
    formula = {
        "relu": np.maximum(x, 0),
        "relu6": np.clip(x, 0, 6),
        "sigmoid": 1 / (1 + np.exp(-x)),
        "tanh": np.tanh(x),
    }
    np.testing.assert_allclose(y, formula[name], atol=1e-6)


def test_copies_keep_names_and_constants():
    net = Net(1, 3, 4, 4)
    net.conv("x", 2, 3, 3, 3, bias=True, name="y")
    (node,) = net.model().graph
    e, x = Emitter(["x"]), value(1, 3, 4, 4)
    (y,) = e.copy(node, {node.inputs[0]: x})
    assert (y.name, y.shape, e.nodes[0].name) == ("y", node.outputs[0].shape, node.name)
    assert set(e.constants) == {v.name for v in node.inputs[1:]}
    assert e.adopt(node.inputs[1]) is e.constants[node.inputs[1].name]
    graph = ir.Graph([x], [y], nodes=e.nodes, initializers=e.constants.values(), opset_imports={"": 18})
    assert ops(ir.Model(graph, ir_version=10)) == {"Conv": 1}
