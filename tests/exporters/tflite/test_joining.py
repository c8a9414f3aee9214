"""Concat, Split, Slice, Pad and Tile against ONNX Runtime, net and between channels-last operators."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from support.graphs import Net, run
from support.lowering_tflite import assert_lowers, lowered

from tdedge.errors import UnsupportedError

SOME = settings(deadline=None, max_examples=25)
SHAPES = ((6,), (4, 6), (2, 4, 6), (2, 4, 5, 6), (1, 4, 3, 5, 2))


def ints(net: Net, *values: int) -> str:
    return net.weight(array=np.array(values, np.int64))


def between_convolutions(*spatial: int, channels: int = 4) -> tuple[Net, str]:
    """A network whose value is stored channels-last when the operator under test reads it."""
    net = Net(1, 3, *spatial)
    return net, net.conv("x", channels, 3, *[3] * len(spatial), pads=1, name="a")


@SOME
@given(st.data())
def test_slices_of_any_start_end_and_step(data):
    shape = data.draw(st.sampled_from(SHAPES))
    along = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    starts, ends, steps, axes = [], [], [], []
    for axis in along:
        size = shape[axis]
        step = data.draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        first = data.draw(st.integers(0, size - 1))
        start = data.draw(st.sampled_from([first, first - size]))
        end = data.draw(st.integers(first + 1, size + 3) if step > 0 else st.just(-size - 1 - first))
        axes.append(data.draw(st.sampled_from([axis, axis - len(shape)])))
        starts.append(start), ends.append(end), steps.append(step)
    net = Net(*shape)
    inputs = [ints(net, *values) for values in (starts, ends, axes, steps)]
    net.add("Slice", "x", *inputs)
    assert_lowers(net)


@pytest.mark.parametrize(
    ("axis", "start", "end", "step"),
    [(1, 1, 3, 1), (1, -1, -99, -1), (2, 0, 9, 2), (2, 3, 4, 1), (3, 1, 2**63 - 1, 3)],
)
def test_a_slice_between_convolutions_stays_channels_last(axis, start, end, step):
    net, a = between_convolutions(8, 8)
    net.add("Slice", a, ints(net, start), ints(net, end), ints(net, axis), ints(net, step), name="b")
    channels = len(range(4)[start:end:step]) if axis == 1 else 4
    net.conv("b", 2, channels, 1, 1)
    made = assert_lowers(net)
    assert made.ops.count("TRANSPOSE") == 2  # the network's own input and output


def test_a_long_reversal_is_one_gather():
    net = Net(1, 40)
    net.add("Slice", "x", ints(net, -1), ints(net, -99), ints(net, 1), ints(net, -1))
    assert assert_lowers(net, partitions=3).ops.count("GATHER") == 1


def test_a_slice_without_elements_is_refused():
    net = Net(1, 4)
    net.add("Slice", "x", ints(net, 4), ints(net, 4), ints(net, 1))
    with pytest.raises(UnsupportedError, match=r"\(Slice\): its result has no elements"):
        lowered(net.model())


def test_slice_in_the_form_of_opset_1():
    net = Net(2, 5, 6)
    net.add("Slice", "x", axes=[1, 2], starts=[1, -3], ends=[3, 2**31 - 1])
    assert_lowers(net, opset=9)


@SOME
@given(st.data())
def test_concatenations_of_computed_and_constant_tensors(data):
    shape = data.draw(st.sampled_from(SHAPES))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    net = Net(*shape)
    names = []
    for _ in range(data.draw(st.integers(1, 8))):
        if data.draw(st.booleans()):
            size = list(shape)
            size[axis] = data.draw(st.integers(1, 3))
            names.append(net.weight(*size))
        else:
            names.append(net.add(data.draw(st.sampled_from(["Relu", "Neg"])), "x"))
    net.add("Relu", "x", name="last")
    net.add("Concat", *names, "last", axis=axis)
    assert_lowers(net)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_dense_block_stays_channels_last(axis):
    net, a = between_convolutions(6, 6, channels=6)
    net.conv(a, 6, 6, 3, 3, pads=1, name="b")
    net.add("Concat", a, "b", net.weight(1, 6, 6, 6), axis=axis, name="c")
    net.conv("c", 2, 12 + 6 if axis == 1 else 6, 1, 1)
    assert assert_lowers(net).ops.count("TRANSPOSE") == 2


@pytest.mark.parametrize(
    ("opset", "count", "form"),
    [(11, 3, "attribute"), (13, 3, "input"), (13, 2, "equal"), (18, 4, "num_outputs"), (18, 3, "input")],
)
@pytest.mark.parametrize("axis", [1, -1])
def test_splits_in_all_forms(opset, count, form, axis):
    net = Net(2, 10, 10)
    names = [f"p{i}" for i in range(count)]
    node = net.add("Split", "x", axis=axis, name=names[0])
    made = net.nodes[-1]
    made.output.extend(names[1:])
    sizes = [2, 3, 5]
    if form == "attribute":
        made.attribute.append(helper.make_attribute("split", sizes))
    elif form == "input":
        made.input.append(ints(net, *sizes))
    elif form == "num_outputs":
        made.attribute.append(helper.make_attribute("num_outputs", count))
        sizes = [3, 3, 3, 1]
    else:
        sizes = [5, 5]
    assert node == names[0] and len(sizes) == count
    net.add("Concat", *reversed(names), axis=axis)
    assert_lowers(net, opset=opset)


def test_unused_results_of_a_split_cost_nothing():
    net = Net(1, 6, 4)
    net.add("Split", "x", axis=1, num_outputs=3, name="p")
    net.nodes[-1].output.extend(["q", "r"])
    net.add("Relu", "q")
    assert assert_lowers(net).ops.count("SLICE") == 1


@SOME
@given(st.data())
def test_paddings_of_every_mode(data):
    shape = data.draw(st.sampled_from(SHAPES))
    mode = data.draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    least = -1 if mode == "constant" else 0
    most = [2 if mode in ("constant", "edge") else min(2, size - 1) for size in shape]
    ends = [st.integers(least if size > 2 else 0, limit) for size, limit in zip(shape, most, strict=True)]
    pads = [data.draw(amount) for amount in (*ends, *ends)]
    value = data.draw(st.sampled_from([0.0, 0.0, -1.5, 7.0]))
    net = Net(*shape)
    extra = [net.weight(array=np.array(value))] if mode == "constant" else []
    net.add("Pad", "x", ints(net, *pads), *extra, mode=mode)
    if mode == "wrap":
        net.nodes[-1].input.extend(["", ints(net, *range(len(shape)))])
    assert_lowers(net, opset=19)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding_between_convolutions_is_one_part(mode):
    net, a = between_convolutions(7, 6)
    net.add("Pad", a, ints(net, 0, 0, 2, 3, 0, 0, 1, 2), mode=mode, name="b")
    net.conv("b", 2, 4, 3, 3)
    made = assert_lowers(net)
    assert made.ops.count("TRANSPOSE") == 2
    assert mode != "constant" or made.ops.count("PAD") == 1


def test_padding_in_the_forms_of_older_operator_sets():
    attributes = Net(1, 2, 4, 4)
    attributes.add("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 1, 2], mode="constant", value=3.0)
    assert_lowers(attributes, opset=10)
    listed = Net(1, 2, 4, 4)
    listed.add("Pad", "x", ints(listed, 1, 2), listed.weight(array=np.array(-2.0)), ints(listed, -1))
    assert_lowers(listed, opset=18)


def test_a_large_block_of_another_value_is_padv2():
    net = Net(1, 512, 64, 64)
    net.add("Pad", "x", ints(net, 0, 0, 1, 1, 0, 0, 1, 1), net.weight(array=np.array(-1e30)))
    assert assert_lowers(net, partitions=3).ops.count("PADV2") == 1


def test_three_dimensional_padding_needs_no_tensor_of_rank_5():
    net, a = between_convolutions(4, 6, 6)
    net.add("Pad", a, ints(net, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1), name="b")
    net.conv("b", 2, 4, 1, 3, 3)
    made = assert_lowers(net)
    inner = [d for d in made.interpreter.get_tensor_details() if len(d["shape"]) > 4]
    assert {detail["name"] for detail in inner} <= {"x", *(v.name for v in net.model().graph.outputs)}


@SOME
@given(st.sampled_from(SHAPES[:4]), st.data())
def test_tilings(shape, data):
    repeats = [data.draw(st.integers(1, 4)) for _ in shape]
    net = Net(*shape)
    net.add("Tile", "x", ints(net, *repeats))
    assert_lowers(net)


@pytest.mark.parametrize("op", ["Concat", "Split", "Pad"])
def test_no_negative_element_is_remembered(op):
    """A maximum pooling may pad with zeros where nothing is negative: one part instead of two."""
    net, a = between_convolutions(8, 8)
    net.add("Relu", a, name="b")
    if op == "Concat":
        net.add("Concat", "b", "b", axis=1, name="c")
    elif op == "Split":
        net.add("Split", "b", ints(net, 1, 3), axis=1, name="c")
        net.nodes[-1].output.append("d")
    else:
        net.add("Pad", "b", ints(net, 0, 0, 1, 1, 0, 0, 0, 0), name="c")
    net.add("MaxPool", "c", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    assert "PADV2" not in assert_lowers(net).ops


def test_computed_pads_are_refused_by_name():
    graph = helper.make_graph(
        [helper.make_node("Pad", ["x", "p"], ["y"], name="pad")],
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3]),
            helper.make_tensor_value_info("p", TensorProto.INT64, [4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(UnsupportedError, match=r"'pad' \(Pad\): input 'p' is computed; it must be constant"):
        lowered(ir.from_proto(model))


def test_integers_are_joined_and_sliced_exactly():
    net = Net(2, 3, 4)
    net.add("Cast", "x", to=6, name="i")
    net.add("Slice", "i", ints(net, 2), ints(net, -99), ints(net, 1), ints(net, -1), name="r")
    net.add("Pad", "r", ints(net, 0, 1, 0, 0, 0, 2), net.weight(array=np.array(7, np.int32)), name="p")
    net.add("Concat", "p", "p", axis=0, name="c")
    net.add("Cast", "c", to=1, name="y")
    model = net.model("y")
    x = (net.sample() * 100).astype(np.float32)
    np.testing.assert_array_equal(lowered(model).run({"x": x})["y"], run(model, x)[0])
