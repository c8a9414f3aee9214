import numpy as np
import pytest
from support.graphs import Net

from tdedge_exporters.layout import layout_of


def layouts(net: Net) -> tuple[str, str]:
    graph = net.model().graph
    return layout_of(graph.inputs[0]), layout_of(graph.outputs[0])


@pytest.mark.parametrize(("axes", "expected"), [(1, "NCW"), (2, "NCHW"), (3, "NCDHW")])
def test_convolutions_show_it_through_elementwise_operators(axes, expected):
    net = Net(1, 2, *(5,) * axes)
    net.add("Mul", "x", net.weight(1), name="m")
    net.conv("m", 3, 2, *(3,) * axes, name="c")
    net.add("Sigmoid", "c", name="s")
    net.add("Mul", "c", "s", name="y")
    assert layouts(net) == (expected, expected)


def test_matrices_of_floats_have_rows_in_n():
    net = Net(2, 5)
    net.add("MatMul", "x", net.weight(5, 3), name="y")
    assert layouts(net) == ("NC", "NC")


def test_sequences_are_not_claimed():
    """A Linear layer on (N, T, C) says nothing of channels first."""
    net = Net(1, 6, 4)
    net.add("MatMul", "x", net.weight(4, 3), name="a")
    net.add("Relu", "a", name="y")
    assert layouts(net) == ("", "")


def test_channels_last_input_is_not_claimed():
    net = Net(1, 6, 6, 3)
    net.add("Transpose", "x", perm=[0, 3, 1, 2], name="t")
    net.conv("t", 4, 3, 3, 3, name="y")
    assert layouts(net) == ("", "NCHW")


def test_sequence_from_an_image_is_not_claimed():
    """Patches of a vision transformer: (N, C, H, W) in, (N, T, C) out."""
    net = Net(1, 3, 8, 8)
    net.conv("x", 6, 3, 4, 4, name="a", strides=[4, 4])
    net.add("Reshape", "a", net.weight(array=np.array([1, 6, 4])), name="b")
    net.add("Transpose", "b", perm=[0, 2, 1], name="y")
    assert layouts(net) == ("NCHW", "")


def test_scalars_have_none():
    net = Net(1, 3)
    net.add("ReduceSum", "x", keepdims=0, name="y")
    assert layouts(net) == ("NC", "")
