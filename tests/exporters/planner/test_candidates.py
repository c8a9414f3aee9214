"""What is offered: segments of a chain, within the budget of multiply-accumulates."""

from dataclasses import replace

import numpy as np
import pytest
from support.graphs import Net
from support.recorded import units_of

from tdedge.compose import NotExactError, compose
from tdedge_exporters.planner.candidates import Scope, _composed_macs, candidates

NARROW = Scope(layouts=(), packings=0, pad_ranks=False)


def tucker(rank: int, channels: int = 32):
    net = Net(1, channels, 8, 8)
    y = net.conv("x", rank, channels, 1, 1)
    y = net.conv(y, rank, rank, 3, 3, pads=1)
    net.add("Relu", net.conv(y, channels, rank, 1, 1))
    return units_of(net)


def covered(net, scope):
    return {len(each.units) for each in candidates(net, scope) if each.form == "conv"}


def test_a_chain_is_offered_whole_where_its_parts_are_not():
    """32 -> 4 -> 64 -> 4 channels: up to the 64 it is far more work as one factor, as a whole it is less."""
    net = Net(1, 32, 8, 8)
    y = net.conv("x", 4, 32, 3, 3, pads=1)
    y = net.conv(y, 64, 4, 1, 1)
    net.conv(y, 4, 64, 1, 1)
    offered = [each for each in candidates(units_of(net), NARROW) if each.form == "conv"]
    assert [[unit.index for unit in each.units] for each in offered] == [[0, 1, 2], [1, 2]]


def test_no_segment_beyond_the_budget():
    net = tucker(4)
    assert 3 not in covered(net, replace(NARROW, waste=2.0))
    assert 3 in covered(net, replace(NARROW, waste=30.0))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_estimate_is_the_work_of_the_composed_factor(stride):
    net = Net(1, 6, 15, 14)
    y = net.conv("x", 4, 6, 3, 1, strides=(stride, 1), pads=(1, 0, 1, 0))
    y = net.conv(y, 8, 4, 1, 5, strides=(1, stride))
    net.conv(y, 5, 8, 1, 1)
    units = units_of(net).units
    whole = units[0].factor
    for count in (2, 3):
        whole = compose(whole, units[count - 1].factor)
        assert _composed_macs(units[:count]) == whole.macs(units[0].input_shape)
    with pytest.raises(NotExactError):
        compose(units[0].factor, units[0].factor)
    assert np.prod(whole.kernel_size) == 15
