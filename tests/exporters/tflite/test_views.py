"""Reshapes, transposes and what depends on shapes alone: results, and how few copies they take."""

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

SOME = settings(deadline=None, max_examples=25)


def ints(net: Net, *values: int) -> str:
    return net.weight(array=np.array(values, np.int64))


def transposes(made) -> int:
    return made.ops.count("TRANSPOSE")


@SOME
@given(st.data())
def test_chains_of_views_of_any_rank(data):
    """Random reshapes and transposes of rank 2 to 6 around operators that want channels last."""
    shape = data.draw(st.sampled_from([(1, 4, 6, 6), (2, 8, 4, 3), (1, 4, 2, 4, 4), (2, 6, 8), (1, 1, 4, 6)]))
    net = Net(*shape)
    spatial = len(shape) - 2
    value = net.conv("x", 4, shape[1], *[1] * spatial) if data.draw(st.booleans()) else "x"
    now = [shape[0], 4 if value != "x" else shape[1], *shape[2:]]
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(len(now))))
            value = net.add("Transpose", value, perm=order)
            now = [now[axis] for axis in order]
        else:
            now = data.draw(st.sampled_from(_shapes(int(np.prod(now)))))
            value = net.add("Reshape", value, ints(net, *now))
        value = net.add("Relu", value)
    if len(now) in (3, 4) and data.draw(st.booleans()):
        net.conv(value, 2, now[1], *[1] * (len(now) - 2))
    assert_lowers(net)


def _shapes(size: int) -> list[list[int]]:
    """Shapes of rank 2 to 6, axes of size 1 among them."""
    found = []
    for rank in range(2, 7):
        for first in (1, 2, 3, 4):
            rest, made = size, []
            for axis in range(rank - 1):
                factor = (first, 1, 2, 2, 3)[axis]
                factor = factor if rest % factor == 0 else 1
                made.append(factor)
                rest //= factor
            found.append([*made, rest])
    return found


def test_a_channel_shuffle_is_one_transpose_between_channels_last_convolutions():
    net = Net(1, 3, 6, 6)
    net.conv("x", 8, 3, 3, 3, pads=1, name="a")
    net.add("Reshape", "a", ints(net, 1, 2, 4, 6, 6), name="b")
    net.add("Transpose", "b", perm=[0, 2, 1, 3, 4], name="c")
    net.add("Reshape", "c", ints(net, 1, 8, 6, 6), name="d")
    net.conv("d", 4, 8, 3, 3)
    made = assert_lowers(net)
    assert transposes(made) == 3  # input, shuffle, output
    shuffled = max(len(detail["shape"]) for detail in made.interpreter.get_tensor_details())
    assert shuffled <= 4


@pytest.mark.parametrize("op", ["Flatten", "Reshape"])
def test_a_flattened_image_costs_no_copy_before_a_matrix_product(op):
    net = Net(1, 3, 6, 6)
    net.conv("x", 8, 3, 3, 3, pads=1, name="a")
    net.add(op, "a", *([ints(net, 0, -1)] if op == "Reshape" else []), name="b")
    net.add("Gemm", "b", net.weight(5, 8 * 36), net.weight(5), transB=1)
    assert transposes(assert_lowers(net)) == 1
    assert transposes(assert_lowers(net, "nhwc")) == 0


@pytest.mark.parametrize("axis", [0, 1, 2, 3, 4, -1])
def test_flattening_at_every_axis(axis):
    net = Net(2, 3, 4, 5)
    net.add("Flatten", "x", axis=axis)
    assert_lowers(net)


def test_a_network_with_transposes_at_both_ends_has_none_left():
    """Networks from TensorFlow take ``(N, H, W, C)`` and turn it around twice."""
    net = Net(1, 6, 7, 3)
    net.add("Transpose", "x", perm=[0, 3, 1, 2], name="a")
    net.conv("a", 8, 3, 3, 3, pads=1, name="b")
    net.add("Relu", "b", name="c")
    net.add("Transpose", "c", perm=[0, 2, 3, 1])
    assert transposes(assert_lowers(net)) == 0


def test_a_video_network_with_transposes_at_both_ends_has_none_left():
    net = Net(1, 4, 6, 7, 3)
    net.add("Transpose", "x", perm=[0, 4, 1, 2, 3], name="a")
    net.conv("a", 8, 3, 1, 3, 3, pads=[0, 1, 1, 0, 1, 1], name="b")
    net.add("Transpose", "b", perm=[0, 2, 3, 4, 1])
    assert transposes(assert_lowers(net)) == 0


@pytest.mark.parametrize("between", [None, "Relu"])
def test_frames_are_moved_into_the_batch_and_back_without_a_copy(between):
    net = Net(1, 3, 4, 6, 6)
    net.conv("x", 8, 3, 1, 3, 3, pads=[0, 1, 1, 0, 1, 1], name="a")
    net.add("Transpose", "a", perm=[0, 2, 1, 3, 4], name="b")
    b = net.add(between, "b") if between else "b"
    net.add("Reshape", b, ints(net, 4, 8, 6, 6), name="c")
    net.conv("c", 4, 8, 3, 3, name="d")
    d = net.add(between, "d") if between else "d"
    net.add("Reshape", d, ints(net, 1, 4, 4, 4, 4), name="e")
    net.add("Transpose", "e", perm=[0, 2, 1, 3, 4], name="f")
    net.conv("f", 2, 4, 3, 1, 1)
    assert transposes(assert_lowers(net)) == 2  # of the input and the output


def test_axes_of_size_1_come_and_go():
    net = Net(1, 3, 1, 5)
    net.add("Squeeze", "x", ints(net, 0, -2), name="a")
    net.add("Unsqueeze", "a", ints(net, 0, 3), name="b")
    net.conv("b", 2, 3, 3, 1, pads=[1, 0, 1, 0], name="c")
    net.add("Squeeze", "c")
    assert_lowers(net)


def test_squeeze_and_unsqueeze_with_attributes():
    net = Net(1, 3, 1, 5)
    net.add("Squeeze", "x", axes=[0, 2], name="a")
    net.add("Unsqueeze", "a", axes=[0, 3])
    assert_lowers(net, opset=11)


def test_reshape_keeps_and_infers_axes():
    net = Net(2, 3, 4, 5)
    net.add("Reshape", "x", ints(net, 0, 0, -1))
    assert_lowers(net)
    net = Net(2, 3, 4, 5)
    net.add("Reshape", "x", ints(net, -1, 3, 10), allowzero=1)
    assert_lowers(net)


def test_identity_and_dropout_vanish():
    net = Net(1, 3, 4)
    net.add("Identity", "x", name="a")
    net.add("Dropout", "a", net.weight(array=np.array(0.5)), name="b")
    net.add("Relu", "b")
    assert assert_lowers(net).ops == ["RELU"]


def test_a_mask_of_dropout_is_all_true():
    net = Net(2, 3)
    net.add("Dropout", "x", name="y")
    net.nodes[-1].output.append("mask")
    graph = helper.make_graph(
        net.nodes, "net", net.inputs, [helper.make_tensor_value_info("mask", TensorProto.BOOL, [2, 3])]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    assert lowered(model).run({"x": net.sample()})["mask"].all()


def test_dropout_in_training_mode_is_refused():
    net = Net(2, 3)
    net.add("Dropout", "x", net.weight(array=np.array(0.5)), net.weight(array=np.array(True)))
    with pytest.raises(UnsupportedError, match=r"\(Dropout\): training_mode=True drops at random"):
        lowered(net.model())


def test_what_depends_on_shapes_alone_is_constant():
    net = Net(2, 3, 4)
    net.add("Shape", "x", start=1, name="s")
    net.add("ConstantOfShape", "s", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [2.5]), name="c")
    net.add("Size", "x", name="n")
    net.add("Range", net.weight(array=np.array(0)), "n", net.weight(array=np.array(1)), name="r")
    net.add("Cast", "r", to=TensorProto.FLOAT, name="f")
    net.add("Reshape", "f", ints(net, 2, 3, 4), name="g")
    net.add("Add", "x", "c", name="a")
    net.add("Mul", "a", "g")
    assert set(assert_lowers(net).ops) <= {"ADD", "MUL", "RESHAPE"}


def test_a_constant_output_is_there():
    net = Net(2, 3)
    net.add("Shape", "x", name="s")
    net.add("Cast", "s", to=TensorProto.FLOAT, name="y")
    model = net.model("y")
    x = net.sample()
    np.testing.assert_array_equal(lowered(model).run({"x": x})["y"], run(model, x)[0])
