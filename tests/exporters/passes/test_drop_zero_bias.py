import numpy as np
import pytest
from support.graphs import Net, assert_rewrites

from tdedge_exporters.passes.drop_zero_bias import DropZeroBiasPass


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm"])
def test_zeros_are_dropped_and_shared_ones_stay_elsewhere(op):
    net = Net(2, 4) if op == "Gemm" else Net(2, 4, 6)
    zeros = net.weight(array=np.zeros(4), name="zeros")
    weight = net.weight(4, 4) if op == "Gemm" else net.weight(4, 4, 1)
    value = net.add(op, "x", weight, zeros)
    net.add("Concat", value, net.add("Mul", value, value), axis=1)
    model = assert_rewrites(net, DropZeroBiasPass())
    assert len(model.graph[0].inputs) == 2
    assert "zeros" not in model.graph.initializers


def test_a_bias_used_elsewhere_stays_there():
    net = Net(2, 4, 4)
    zeros = net.weight(array=np.zeros(4), name="zeros")
    net.add("Add", net.add("Conv", "x", net.weight(4, 4, 1), zeros), zeros)
    assert "zeros" in assert_rewrites(net, DropZeroBiasPass()).graph.initializers


def test_another_bias_stays():
    net = Net(2, 4, 6)
    net.conv("x", 3, 4, 1, bias=True)
    step = DropZeroBiasPass()
    assert len(assert_rewrites(net, step).graph[0].inputs) == 3
    assert not step.records
