"""Dense clips with CONV_3D operators: what LiteRT's rows are also compared with."""

import pytest
from ai_edge_litert import schema_py_generated as schema
from support.graphs import Net, assert_close, run

from benchmarks.realisation.conv3d import needed_bytes, write_conv3d
from tdedge_runtimes.session import open_session

_CONV3D = schema.BuiltinOperator.CONV_3D


def operators(path):
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    return [model.operatorCodes[op.opcodeIndex].builtinCode for op in model.subgraphs[0].operators]


@pytest.mark.parametrize(
    ("kernel", "pads", "strides"),
    [
        ((3, 3, 3), 1, (1, 1, 1)),
        ((3, 3, 3), 1, (2, 2, 2)),
        ((3, 5, 4), 0, (1, 2, 1)),
        ((1, 3, 3), [0, 1, 1, 0, 1, 1], (1, 2, 2)),
        ((3, 1, 1), [2, 0, 0, 1, 0, 0], (1, 1, 1)),
        ((1, 1, 1), 0, (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_every_convolution_of_a_clip_is_one_operator(tmp_path, kernel, pads, strides, bias):
    net = Net(2, 5, 6, 9, 8)
    net.conv("x", 7, 5, *kernel, pads=pads, strides=strides, bias=bias, name="a")
    net.add("Relu", "a", name="r")
    net.conv("r", 4, 7, 1, 1, 1, name="y")
    model = net.model()
    path = write_conv3d(model, tmp_path / "model.tflite")
    found = operators(path)
    assert found.count(_CONV3D) == 2
    assert schema.BuiltinOperator.RELU not in found, "activations are fused"
    x = net.sample()
    with open_session("tflite", path) as session:
        (got,) = session.run({"x": x}).values()
    assert_close([got], run(model, x), 1e-5)


def test_what_has_groups_is_lowered_as_ever(tmp_path):
    net = Net(1, 6, 4, 6, 6)
    net.conv("x", 6, 6, 3, 3, 3, groups=6, pads=1, name="a")
    net.conv("a", 4, 6, 3, 3, 3, pads=1, name="y")
    model = net.model()
    path = write_conv3d(model, tmp_path / "model.tflite")
    assert operators(path).count(_CONV3D) == 1
    x = net.sample(1)
    with open_session("tflite", path) as session:
        (got,) = session.run({"x": x}).values()
    assert_close([got], run(model, x), 1e-5)


def test_memory_follows_the_windows_of_the_largest_convolution():
    net = Net(1, 4, 28, 120, 160)
    net.conv("x", 6, 4, 5, 11, 11, pads=[2, 5, 5, 2, 5, 5], name="a")
    net.conv("a", 2, 6, 1, 1, 1, name="y")
    windows = 28 * 120 * 160 * 4 * 5 * 11 * 11 * 4
    assert 2 * windows < needed_bytes(net.model()) < 14 * 2**30
