"""Gather, Expand, Cast and the list of indices behind them, against ONNX Runtime and NumPy."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from support.graphs import Net, run
from support.lowering_tflite import assert_lowers, lowered

from tdedge.errors import UnsupportedError
from tdedge_exporters.tflite.take import _runs

SOME = settings(deadline=None, max_examples=25)


def ints(net: Net, *values: int) -> str:
    return net.weight(array=np.array(values, np.int64))


def one_node(op: str, inputs: dict[str, tuple[int, tuple[int, ...]]], output: int, **attributes) -> ir.Model:
    """A graph of one node whose inputs, of (element type, shape), are all computed."""
    node = helper.make_node(op, list(inputs), ["y"], name="node", **attributes)
    infos = [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()]
    graph = helper.make_graph([node], "net", infos, [helper.make_tensor_value_info("y", output, None)])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_runs_are_the_indices(indices):
    again = [first + i * step for first, count, step in _runs(indices) for i in range(count)]
    assert again == indices


def test_runs_are_few():
    assert _runs([0, 1, 2, 3]) == [(0, 4, 1)]
    assert _runs([1, 3, 5, 0, 0, 0]) == [(1, 3, 2), (0, 3, 0)]
    assert _runs([2, 1, 0]) == [(2, 1, 1), (1, 1, 1), (0, 1, 1)]


@SOME
@given(st.data())
def test_gathers_of_constant_indices(data):
    shape = data.draw(st.sampled_from([(6,), (4, 6), (2, 4, 6), (1, 4, 5, 6)]))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    of = data.draw(st.sampled_from([(1,), (3,), (5,), (2, 2), (1, 2, 2)] + [()] * (len(shape) > 1)))
    size, count = shape[axis], int(np.prod(of))
    choice = st.integers(-size, size - 1)
    picked = data.draw(st.lists(choice, min_size=count, max_size=count))
    net = Net(*shape)
    net.add("Gather", "x", net.weight(array=np.array(picked, np.int64).reshape(of)), axis=axis)
    assert_lowers(net)


def test_a_channel_shuffle_by_gather_stays_channels_last():
    net = Net(1, 3, 6, 6)
    net.conv("x", 8, 3, 3, 3, pads=1, name="a")
    net.add("Gather", "a", ints(net, 0, 4, 1, 5, 2, 6, 3, 7), axis=1, name="b")
    net.conv("b", 2, 8, 1, 1)
    made = assert_lowers(net)
    assert made.ops.count("TRANSPOSE") == 2 and "GATHER" not in made.ops


def test_the_first_frame_of_a_video_is_one_slice():
    net = Net(1, 3, 4, 6, 6)
    net.conv("x", 4, 3, 1, 3, 3, pads=[0, 1, 1, 0, 1, 1], name="a")
    net.add("Gather", "a", net.weight(array=np.array(0)), axis=2, name="b")
    net.conv("b", 2, 4, 3, 3)
    assert assert_lowers(net).ops.count("SLICE") == 1


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("kind", [TensorProto.INT32, TensorProto.INT64])
def test_computed_indices_count_from_either_end(shape, kind):
    model = one_node("Gather", {"x": (1, (2, 4, 5)), "i": (kind, shape)}, 1, axis=1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 5)).astype(np.float32)
    indices = rng.integers(-4, 4, shape).astype(helper.tensor_dtype_to_np_dtype(kind))
    indices = np.asarray(indices)
    result = lowered(model).run({"x": x, "i": indices})["y"]
    np.testing.assert_array_equal(result, np.take(x, indices, 1))


def test_a_computed_index_outside_stays_inside_the_tensor():
    model = one_node("Gather", {"x": (1, (4,)), "i": (TensorProto.INT64, (2,))}, 1)
    x = np.arange(4, dtype=np.float32)
    result = lowered(model).run({"x": x, "i": np.array([2**40, -9])})["y"]
    assert set(result) <= set(x)


def test_constant_indices_outside_are_refused():
    net = Net(2, 3)
    net.add("Gather", "x", ints(net, 3), axis=1)
    with pytest.raises(UnsupportedError, match=r"\(Gather\): its indices are not a choice of \[-3, 2\]"):
        lowered(net.model())


@SOME
@given(st.data())
def test_expansions(data):
    rank = data.draw(st.integers(1, 5))
    target = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    less = data.draw(st.integers(0, rank - 1))
    shape = [data.draw(st.sampled_from([1, size])) for size in target[less:]]
    whole = [1] * less + shape
    asked = [
        data.draw(st.sampled_from([1, size])) if have == size else size
        for have, size in zip(whole, target, strict=True)
    ]
    net = Net(*shape)
    net.add("Expand", "x", ints(net, *asked), name="e")
    net.add("Neg", "e")
    assert_lowers(net)


def test_an_expanded_attention_map_is_one_part():
    net = Net(1, 3, 6, 6)
    net.conv("x", 4, 3, 3, 3, pads=1, name="a")
    net.add("GlobalAveragePool", "a", name="g")
    net.add("Expand", "g", ints(net, 1, 4, 6, 6), name="e")
    net.add("Mul", "a", "e", name="m")
    net.conv("m", 2, 4, 1, 1)
    assert_lowers(net)


@pytest.mark.parametrize("through", ["int32", "int64", "uint8", "int8", "bool", "float64", "int16"])
def test_casts_there_and_back(through):
    net = Net(1, 3, 5)
    net.add("Abs", "x", name="a")
    net.add("Cast", "a", to=helper.np_dtype_to_tensor_dtype(np.dtype(through)), name="b")
    net.add("Cast", "b", to=TensorProto.FLOAT, name="y")
    model = net.model("y")
    x = (net.sample() * 20).astype(np.float32)
    np.testing.assert_array_equal(lowered(model).run({"x": x})["y"], run(model, x)[0])


def test_cast_like():
    model = one_node("CastLike", {"x": (1, (2, 3)), "like": (TensorProto.INT32, (1,))}, TensorProto.INT32)
    x = np.array([[0.5, -1.5, 3], [7, -8, 100.75]], np.float32)
    result = lowered(model).run({"x": x, "like": np.zeros(1, np.int32)})["y"]
    np.testing.assert_array_equal(result, x.astype(np.int32))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.UINT64])
def test_casts_that_would_round_or_have_no_kernel_are_refused(kind):
    net = Net(1, 3)
    net.add("Cast", "x", to=kind, name="a")
    net.add("Cast", "a", to=TensorProto.FLOAT, name="y")
    with pytest.raises(UnsupportedError, match=r"\(Cast\): it casts to \w+, which has no kernel"):
        lowered(net.model("y"))


@SOME
@given(st.data())
def test_the_largest_and_the_smallest_in_order(data):
    """Few different values, so that equals meet: the lower index comes first."""
    shape = data.draw(st.sampled_from([(6,), (4, 6), (2, 3, 4, 5)]))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count = data.draw(st.integers(1, shape[axis]))
    kind = data.draw(st.sampled_from([TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64]))
    largest = data.draw(st.integers(0, 1))
    node = helper.make_node("TopK", ["x", "k"], ["y", "i"], name="node", axis=axis, largest=largest)
    infos = [helper.make_tensor_value_info("x", kind, shape)]
    results = [helper.make_tensor_value_info(n, t, None) for n, t in (("y", kind), ("i", TensorProto.INT64))]
    k = helper.make_tensor("k", TensorProto.INT64, (1,), [count])
    graph = helper.make_graph([node], "net", infos, results, [k])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True))
    x = np.random.default_rng(count).integers(-3, 3, shape).astype(helper.tensor_dtype_to_np_dtype(kind))
    got = lowered(model).run({"x": x})
    for name, expected in zip(("y", "i"), run(model, x), strict=True):
        np.testing.assert_array_equal(got[name], expected)


def test_the_smallest_integers_do_not_overflow():
    graph = helper.make_graph(
        [helper.make_node("TopK", ["x", "k"], ["y", "i"], name="node", largest=0)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.INT64, (3,))],
        [helper.make_tensor_value_info(n, TensorProto.INT64, (3,)) for n in ("y", "i")],
        [helper.make_tensor("k", TensorProto.INT64, (1,), [3])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    got = lowered(ir.from_proto(proto)).run({"x": np.array([high, low, 0])})
    assert got["y"].tolist() == [low, 0, high] and got["i"].tolist() == [1, 2, 0]
