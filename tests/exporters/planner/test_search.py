"""What the search chooses given recorded costs: a table per form, ties, branches, conversions."""

import numpy as np
import pytest
from support.graphs import Net, assert_close, ops, run
from support.random_networks import Grower

from tdedge_exporters.planner.candidates import Scope, candidates
from tdedge_exporters.planner.layouts import FRAMES
from tdedge_exporters.planner.rebuild import rebuild
from tdedge_exporters.planner.search import PREFERENCE, search
from tdedge_exporters.planner.units import Network, network

SCOPE = Scope(volumes=True)


def priced(net: Network, costs: dict[str, float], other=9.0, conversion=0.25, scope=SCOPE):
    """The choice where a form costs what ``costs`` says, the first prefix that fits, and others ``other``."""
    offered = candidates(net, scope)

    def cost(candidate):
        named = f"{candidate.form} {candidate.reads}->{candidate.gives}"
        return next((ms for form, ms in costs.items() if named.startswith(form)), other)

    return search(net, offered, [cost(each) for each in offered], lambda *_: conversion)


def pointwise_net(axes=2, channels=8):
    net = Net(1, channels, *[8] * axes)
    net.conv("x", channels, channels, *[1] * axes)
    return net


def depthwise_net(*kernel, pads, channels=4):
    net = Net(1, channels, 8, 8, 8)
    net.conv("x", channels, channels, *kernel, groups=channels, pads=[*pads, *pads])
    return net


def clip_net(frames=8, groups=1):
    net = Net(1, 4, frames, 8, 8)
    net.conv("x", 4, 4, 3, 3, 3, pads=1, groups=groups)
    return net


def composed_net():
    net = Net(1, 8, 8, 8)
    net.conv(net.conv("x", 2, 8, 1, 1), 8, 2, 3, 3)
    return net


def grouped_net():
    net = Net(1, 8, 8, 8)
    net.conv("x", 8, 8, 3, 3, pads=1, groups=2)
    return net


def pooled_clip():
    net = clip_net()
    net.add("MaxPool", "conv0", kernel_shape=[2, 2, 2], strides=[2, 2, 2])
    return net


def packed_net(axes, channels=2):
    net = Net(1, channels, *[8] * axes)
    y = net.add("Relu", net.conv("x", channels, channels, *[3] * axes, pads=1))
    y = net.add("Relu", net.conv(y, 6, channels, *[1] * axes, bias=True))
    net.add("MaxPool", y, kernel_shape=[2] * axes, strides=[2] * axes)
    return net


#: form -> (network, recorded costs, chosen forms, operators of what is written)
TABLES = {
    "plain": (composed_net, {"plain": 1}, ["plain.factor"] * 2, {"Conv": 2}),
    "conv": (composed_net, {"plain": 1, "conv": 1.5}, ["conv"], {"Conv": 1}),
    "dense conv": (grouped_net, {"plain": 1, "dense conv": 0.5}, ["dense conv"], {"Conv": 1}),
    "view.pointwise": (
        lambda: pointwise_net(3),
        {"plain": 1, "view.pointwise": 0.5},
        ["view.pointwise"],
        {"Conv": 1, "Reshape": 2},
    ),
    "view.temporal": (
        lambda: depthwise_net(3, 1, 1, pads=(1, 0, 0)),
        {"plain": 1, "view.temporal": 0.5},
        ["view.temporal"],
        {"Conv": 1, "Reshape": 2},
    ),
    "view.spatial": (
        lambda: depthwise_net(1, 3, 3, pads=(0, 1, 1)),
        {"plain": 1, "view.spatial": 0.5},
        ["view.spatial"],
        {"Conv": 1, "Reshape": 2},
    ),
    "frames.direct": (
        lambda: pointwise_net(3),
        {"plain": 1, "frames.direct": 0.4},
        ["frames.direct"],
        {"Conv": 1, "Reshape": 2, "Transpose": 2},
    ),
    "frames.sum": (
        lambda: clip_net(groups=2),
        {"plain": 1, "frames.sum": 0.4},
        ["frames.sum"],
        {"Conv": 3, "Add": 2, "Slice": 2, "Concat": 1, "Reshape": 2, "Transpose": 2},
    ),
    "frames.joined": (
        clip_net,
        {"plain": 1, "frames.joined": 0.4},
        ["frames.joined"],
        {"Conv": 1, "Slice": 2, "Concat": 2, "Reshape": 2, "Transpose": 2},
    ),
    "frames.banded": (
        lambda: clip_net(4),
        {"plain": 1, "frames.banded": 0.4},
        ["frames.banded"],
        {"Conv": 1, "Reshape": 4, "Transpose": 2},
    ),
    "frames.pool": (
        pooled_clip,
        {"plain": 1, "frames": 0.3},
        ["frames.sum", "frames.pool"],
        {"Conv": 3, "Add": 2, "MaxPool": 1, "Max": 1, "Slice": 4, "Concat": 1, "Reshape": 2, "Transpose": 2},
    ),
    "apart.sum": (
        lambda: clip_net(groups=2),
        {"plain": 1, "apart.sum": 0.4},
        ["apart.sum"],
        {"Conv": 2 + 3 * 6 + 2, "Add": 1 + 2 * 6 + 1, "Split": 1, "Concat": 1, "Reshape": 16},
    ),
    "apart.joined": (
        clip_net,
        {"plain": 1, "apart.joined": 0.4},
        ["apart.joined"],
        {"Conv": 8, "Concat": 8 + 1, "Split": 1, "Reshape": 16},
    ),
    "apart.minimal2": (
        clip_net,
        {"plain": 1, "apart.minimal2": 0.4},
        ["apart.minimal2"],
        {"Conv": 4 * 4, "Add": 4 * 4, "Sub": 4 * 4 - 2, "Split": 1, "Concat": 1, "Reshape": 16},
    ),
    "apart.minimal4": (
        clip_net,
        {"plain": 1, "apart.minimal4": 0.4},
        ["apart.minimal4"],
        {"Conv": 2 * 6, "Add": 22, "Sub": 20, "Mul": 18, "Split": 1, "Concat": 1, "Reshape": 16},
    ),
    "apart.pool": (
        pooled_clip,
        {"plain": 1, "apart.sum": 0.2, "apart.pool": 0.2},
        ["apart.sum", "apart.pool"],
        {"Conv": 22, "Add": 14, "MaxPool": 8, "Max": 4, "Split": 1, "Concat": 1, "Reshape": 8 + 4},
    ),
    "matmul.last": (
        pointwise_net,
        {"plain": 1, "matmul.last": 0.4},
        ["matmul.last"],
        {"Gemm": 1, "Transpose": 2, "Reshape": 2},
    ),
    "matmul.left": (
        pointwise_net,
        {"plain": 1, "matmul.left": 0.9},
        ["matmul.left"],
        {"MatMul": 1, "Reshape": 2},
    ),
    "matmul.time": (
        lambda: depthwise_net(3, 1, 1, pads=(1, 0, 0)),
        {"plain": 1, "matmul.time": 0.5},
        ["matmul.time"],
        {"MatMul": 1, "Reshape": 2},
    ),
    "segments": (
        pointwise_net,
        {"plain": 1, "segments.2": 0.5},
        ["segments.2"],
        {"Conv": 1, "Reshape": 2},
    ),
    "packed": (
        lambda: packed_net(2),
        {"plain": 1, "packed.2x2": 0.5},
        ["packed.2x2"],
        {"Pad": 1, "SpaceToDepth": 1, "Conv": 2, "Relu": 2, "Slice": 4, "Max": 2},
    ),
    "packed clip": (
        lambda: packed_net(3),
        {"plain": 1, "packed.2x2x2 ": 0.5},
        ["packed.2x2x2"],
        {
            **{"Pad": 1, "SpaceToDepth": 1, "Concat": 2, "Slice": 4 + 6, "Conv": 2, "Relu": 2, "Max": 3},
            **{"Reshape": 4, "Transpose": 2},
        },
    ),
    "packed minimal": (
        lambda: packed_net(3, channels=4),
        {"plain": 1, "packed.2x2x2.minimal": 0.5},
        ["packed.2x2x2.minimal"],
        {
            **{"Pad": 1, "SpaceToDepth": 1, "Concat": 2, "Slice": 4 + 6, "Conv": 4 + 1, "Relu": 2, "Max": 3},
            **{"Add": 4, "Sub": 4, "Reshape": 4, "Transpose": 2},
        },
    ),
    "volume": (lambda: packed_net(3), {"plain": 1, "volume.2x2x2": 0.5}, ["volume.2x2x2"], None),
}


@pytest.mark.parametrize("form", TABLES)
def test_form_is_chosen_where_it_costs_least(form):
    make, costs, chosen, expected = TABLES[form]
    net = make()
    model = net.model()
    found = network(model)
    best = priced(found, costs)
    assert [each.form for each in best.chosen] == chosen
    rebuilt = rebuild(found, best.chosen)
    if expected is not None:
        assert ops(rebuilt) == expected
    x = net.sample()
    assert_close(run(rebuilt, x), run(model, x))


@pytest.mark.parametrize("form", [form for form in TABLES if form != "plain"])
def test_form_is_left_where_it_costs_more(form):
    make, _, _, _ = TABLES[form]
    net = make()
    found = network(net.model())
    assert all(each.is_plain for each in priced(found, {"plain": 1}, other=5.0).chosen)


@pytest.mark.parametrize("form", TABLES)
def test_ties_go_to_plain(form):
    found = network(TABLES[form][0]().model())
    best = priced(found, {"plain": 1.0}, other=len(found.units), conversion=0.0)
    if len(found.units) == 1:
        assert [each.is_plain for each in best.chosen] == [True]
    assert all(each.is_plain for each in priced(found, {}, other=0.0, conversion=0.0).chosen)


def test_segmentation_by_cost():
    """Three factors: composed as a whole, as the first two, as the last two, or not."""
    net = Net(1, 8, 8, 8)
    a = net.conv("x", 4, 8, 1, 1)
    net.conv(net.conv(a, 4, 4, 3, 3), 8, 4, 1, 1)
    found = network(net.model())
    offered = candidates(found, Scope(layouts=(), packings=0, pad_ranks=False, waste=9))

    def spans(costs):
        by_units = [
            1.0 if each.is_plain else costs.get(tuple(u.index for u in each.units), 9.0) for each in offered
        ]
        best = search(found, offered, by_units, lambda *_: 0.0)
        return [tuple(unit.index for unit in each.units) for each in best.chosen]

    assert spans({}) == [(0,), (1,), (2,)]
    assert spans({(0, 1): 1.5}) == [(0, 1), (2,)]
    assert spans({(1, 2): 1.5, (0, 1): 1.8}) == [(0,), (1, 2)]
    assert spans({(1, 2): 1.5, (0, 1, 2): 2.4}) == [(0, 1, 2)]


def residual_net():
    """x -> a -> b -> (+ a) -> y, clips of one channel count, all pointwise."""
    net = Net(1, 8, 4, 6, 6)
    a = net.conv("x", 8, 8, 1, 1, 1, name="a")
    b = net.conv(net.add("Relu", a), 8, 8, 3, 3, 3, pads=1, name="b")
    net.conv(net.add("Add", a, b), 8, 8, 1, 1, 1, name="y")
    return net


def test_residual_branches_share_a_layout():
    """Frames pay only where both branches and the addition are in frames."""
    net = residual_net()
    model = net.model()
    found = network(model)
    costs = {"plain.factor": 1.0, "plain.map": 0.1, "frames": 0.8, "map frames": 0.1}
    best = priced(found, costs, conversion=0.2)
    assert [str(each.gives) for each in best.chosen] == ["frames"] * len(best.chosen)
    rebuilt = rebuild(found, best.chosen)
    assert ops(rebuilt)["Transpose"] == 2
    x = net.sample()
    assert_close(run(rebuilt, x), run(model, x))
    costs["map frames"] = 1.0
    best = priced(found, costs, conversion=0.2)
    assert all(each.is_plain for each in best.chosen)


def test_conversions_are_charged_once_for_several_readers():
    """Two readers that want frames: worth it where the value is converted once, not twice."""
    net = Net(1, 8, 4, 6, 6)
    a = net.add("Softplus", "x", name="a")
    b, c = (net.conv(a, 8, 8, 1, 1, 1, name=name) for name in "bc")
    net.add("Add", b, c, name="y")
    found = network(net.model())
    costs = {"plain.factor": 1.0, "plain.map": 0.0, "frames.direct": 0.9, "map frames": 0.0}
    scope = Scope(layouts=(FRAMES.layout,), packings=0, pad_ranks=False)
    # saved 0.2; two conversions (in, and out at the end), four if each reader paid for its own
    forms = [each.form for each in priced(found, costs, conversion=0.09, scope=scope).chosen]
    assert forms.count("frames.direct") == 2
    best = priced(found, costs, conversion=0.11, scope=scope)
    assert all(each.is_plain for each in best.chosen)


def test_cost_of_a_choice():
    found = network(residual_net().model())
    costs = {"plain.factor": 1.0, "plain.map": 0.1, "frames": 0.8, "map frames": 0.1}
    best = priced(found, costs, conversion=0.2)
    factors = sum(each.form.startswith("frames") for each in best.chosen)
    maps = len(best.chosen) - factors
    assert best.cost_ms == pytest.approx(factors * 0.8 + maps * 0.1 + 2 * 0.2, rel=2 * PREFERENCE)


def test_zero_channels_are_never_joined_with_none():
    """A padded rank is free, but only where both of its sides have it."""
    net = Net(1, 8, 6, 6)
    net.conv(net.conv("x", 5, 8, 3, 3), 8, 5, 3, 3)
    found = network(net.model())
    scope = Scope(lanes=8, layouts=(), packings=0, waste=0)
    offered = candidates(found, scope)
    assert {str(each.gives) for each in offered if each.units[-1].index == 0} == {"native", "native+3"}

    def chosen(*cheap):
        labels = [(str(each.reads), str(each.gives)) for each in offered]
        costs = [0.1 if pair in cheap else 1.0 for pair in labels]
        best = search(found, offered, costs, lambda *_: 0.0).chosen
        return [(str(each.reads), str(each.gives)) for each in best]

    assert chosen(("native", "native+3")) == [("native", "native+3"), ("native+3", "native")]
    assert chosen() == [("native", "native")] * 2


@pytest.mark.parametrize("reader", ["output", "map", "factor and output"])
def test_zero_channels_stay_between_factors(reader):
    net = Net(1, 8, 6, 6)
    a = net.conv("x", 5, 8, 3, 3)
    outputs = [net.conv(net.add("Softplus", a) if reader == "map" else a, 8, 5, 3, 3)]
    if reader != "map":
        outputs.append(a)
    found = network(net.model(*outputs))
    assert not any(each.gives.zeros or each.reads.zeros for each in candidates(found, Scope(lanes=8)))


def test_deterministic():
    net = network(Grower(7, 3).grow(12).model())
    offered = candidates(net, SCOPE)
    costs = list(np.random.default_rng(0).random(len(offered)))
    choices = [search(net, offered, costs, lambda *_: 0.1) for _ in range(2)]
    assert choices[0] == choices[1]
