"""Space to depth and back, in every mode, against ONNX Runtime."""

import pytest
from support.graphs import Net
from support.lowering_tflite import assert_lowers

SIZES = [(2, 1, 3, 4), (2, 3, 3, 4), (3, 2, 4, 3), (1, 2, 3, 3)]


@pytest.mark.parametrize("after_conv", [False, True])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("block", "channels", "height", "width"), SIZES)
@pytest.mark.parametrize("mode", ["DCR", "CRD", None])
def test_depth_to_space(mode, block, channels, height, width, layout, after_conv):
    net = Net(2, channels * block**2, height, width)
    x = net.conv("x", net.shape[1], net.shape[1], 1, 1) if after_conv else "x"
    net.add("DepthToSpace", x, blocksize=block, **({"mode": mode} if mode else {}))
    assert_lowers(net, layout)


@pytest.mark.parametrize("after_conv", [False, True])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("block", "channels", "rows", "columns"), SIZES)
def test_space_to_depth(block, channels, rows, columns, layout, after_conv):
    net = Net(2, channels, rows * block, columns * block)
    x = net.conv("x", channels, channels, 1, 1) if after_conv else "x"
    net.add("SpaceToDepth", x, blocksize=block)
    assert_lowers(net, layout)


def test_they_undo_each_other():
    net = Net(1, 3, 8, 6)
    net.conv("x", 3, 3, 1, 1, name="a")
    net.add("SpaceToDepth", "a", blocksize=2, name="b")
    net.add("DepthToSpace", "b", blocksize=2, name="c")
    net.add("Add", "a", "c")
    assert_lowers(net)
