"""Maps and pools in every layout that can have them."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import Net, ops, run
from support.planning import SETTINGS, TOLERANCE, sample, single

from tdedge_exporters.planner.clips import frame_by_frame
from tdedge_exporters.planner.forms import steps
from tdedge_exporters.planner.layouts import APART, FRAMES, NATIVE, Label, convert, layouts_of
from tdedge_exporters.planner.units import network


def assert_same(planned: ir.Model, net: Net) -> None:
    model = net.model()
    x = sample(net.shape)
    (expected,), (y,) = run(model, x), run(planned, x)
    assert y.shape == expected.shape
    assert np.abs(y - expected).max() <= TOLERANCE * np.abs(expected).max()


def map_net(shape, op, operand, flip, seed=0):
    net = Net(*shape, seed=seed)
    constants = {
        "none": [],
        "number": [1],
        "scalar": [()],
        "channel": [(shape[1], *[1] * (len(shape) - 2))],
        "batched": [(1, shape[1], *[1] * (len(shape) - 2))],
    }[operand]
    inputs = ["x", *(net.weight(*np.atleast_1d(size), array=None) for size in constants)]
    if operand == "scalar":
        inputs[1:] = [net.weight(array=1.5)]
    net.add(op, *(inputs[::-1] if flip else inputs))
    return net


@st.composite
def maps(draw):
    axes = draw(st.integers(1, 3))
    shape = (1, draw(st.integers(1, 4)), *(draw(st.integers(1, 5)) for _ in range(axes)))
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min"]))
    operand = draw(st.sampled_from(["number", "scalar", "channel", "batched"]))
    return shape, op, operand, draw(st.booleans()), draw(st.integers(0, 99))


def in_layout(unit, shape, label):
    def body(e, x):
        made = steps.emit_map(e, unit, [convert(e, x, shape, NATIVE, label)], label.layout)
        return convert(e, made, shape, label, NATIVE)

    return single(shape, body)


@SETTINGS
@given(maps())
def test_maps_with_constants_in_every_layout(case):
    shape, op, operand, flip, seed = case
    net = map_net(shape, op, operand, flip, seed)
    (unit,) = network(net.model()).units
    assert unit.kind == "map"
    for layout in layouts_of(shape):
        assert_same(in_layout(unit, shape, Label(layout)), net)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Relu", {}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("HardSwish", {}),
        ("Elu", {"alpha": 0.7}),
        ("Mish", {}),
        ("Softplus", {}),
        ("Neg", {}),
        ("Abs", {}),
        ("Exp", {}),
        ("Identity", {}),
    ],
)
def test_maps_of_one_operand_keep_their_attributes(op, attributes):
    shape = (1, 3, 2, 4, 5)
    net = Net(*shape)
    net.add(op, "x", **attributes)
    (unit,) = network(net.model()).units
    for layout in layouts_of(shape):
        assert_same(in_layout(unit, shape, Label(layout)), net)


@pytest.mark.parametrize("bounds", [(None, 0.5), (-0.5, None), (-0.5, 0.5)])
def test_clip_with_one_bound_or_two(bounds):
    shape = (1, 3, 2, 4, 5)
    net = Net(*shape)
    names = ["" if bound is None else net.weight(array=bound) for bound in bounds]
    net.add("Clip", "x", *(names if bounds[1] is not None else names[:1]))
    (unit,) = network(net.model()).units
    assert unit.kind == "map"
    for layout in layouts_of(shape):
        assert_same(in_layout(unit, shape, Label(layout)), net)


def test_residual_addition_in_every_layout():
    shape = (1, 3, 2, 4, 5)
    net = Net(*shape)
    a = net.add("Relu", "x")
    net.add("Add", a, net.add("Neg", "x"))
    unit = network(net.model()).units[-1]
    for label in map(Label, layouts_of(shape)):

        def body(e, x, label=label):
            x = convert(e, x, shape, NATIVE, label)
            pair = [
                frame_by_frame(lambda each, op=op: e.op(op, [each], each.shape), x) for op in ("Relu", "Neg")
            ]
            return convert(e, steps.emit_map(e, unit, pair, label.layout), shape, label, NATIVE)

        assert_same(single(shape, body), net)


@st.composite
def pools(draw):
    op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    kernel = [draw(st.integers(1, 3)) for _ in range(3)]
    attributes = {"kernel_shape": kernel, "strides": [draw(st.integers(1, 3)) for _ in range(3)]}
    if draw(st.booleans()):
        attributes["pads"] = [draw(st.integers(0, k - 1)) for k in kernel * 2]
        if draw(st.booleans()):
            attributes["pads"][0] = attributes["pads"][3] = 0
    if op == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    elif draw(st.booleans()):
        attributes["dilations"] = [draw(st.integers(1, 2)) for _ in range(3)]
    attributes["ceil_mode"] = int(draw(st.integers(0, 5)) == 0)
    shape = (draw(st.sampled_from([1, 1, 1, 2])), 2, *(draw(st.integers(5, 8)) for _ in range(3)))
    net = Net(*shape, seed=draw(st.integers(0, 99)))
    net.add(op, "x", **attributes)
    return net


def frames_pool(unit, label=FRAMES):
    shape, result = unit.input_shape, unit.output_shape

    def body(e, x):
        made = steps.emit_pool_frames(e, unit, convert(e, x, shape, NATIVE, label))
        return convert(e, made, result, label, NATIVE)

    return single(shape, body)


@SETTINGS
@given(pools(), st.sampled_from([FRAMES, APART]))
def test_pools_taken_apart(case, label):
    (unit,) = network(case.model()).units
    assert unit.kind == "pool"
    if steps.can_pool_frames(unit):
        assert_same(frames_pool(unit, label), case)


@pytest.mark.parametrize(
    ("op", "attributes", "exact"),
    [
        ("MaxPool", {}, True),
        ("AveragePool", {}, True),
        ("MaxPool", {"pads": [0, 1, 1, 0, 1, 1]}, True),
        ("MaxPool", {"pads": [1, 0, 0, 0, 0, 0]}, False),
        ("AveragePool", {"pads": [0, 1, 1, 0, 1, 1]}, False),
        ("AveragePool", {"pads": [0, 1, 1, 0, 1, 1], "count_include_pad": 1}, True),
        ("AveragePool", {"pads": [0, 1, 1, 0, 1, 1], "kernel_shape": [1, 2, 2]}, True),
        ("MaxPool", {"dilations": [1, 2, 2]}, True),
        ("MaxPool", {"dilations": [2, 1, 1]}, False),
        ("MaxPool", {"ceil_mode": 1}, False),
        ("MaxPool", {"auto_pad": "SAME_UPPER"}, False),
    ],
)
def test_which_pools_can_be_taken_apart(op, attributes, exact):
    net = Net(1, 2, 6, 7, 8)
    net.add(op, "x", **{"kernel_shape": [2, 2, 2], "strides": [2, 2, 2], **attributes})
    (unit,) = network(net.model()).units
    assert steps.can_pool_frames(unit) is exact
    if exact:
        assert_same(frames_pool(unit), net)


def test_dilated_means_stay_as_they_are():
    """Opset 19 lets averages be dilated; the 2-D pools that are written have no such attribute."""
    net = Net(1, 2, 6, 7, 8)
    net.add("MaxPool", "x", kernel_shape=[2, 2, 2], strides=[1, 1, 1])
    model = net.model()
    node = next(iter(model.graph))
    node.op_type = "AveragePool"
    node.attributes.add(ir.AttrInt64s("dilations", [1, 2, 2]))
    (unit,) = network(model).units
    assert not steps.can_pool_frames(unit)


def test_clips_alone_have_frames():
    net = Net(2, 2, 6, 7, 8)
    net.add("MaxPool", "x", kernel_shape=[2, 2, 2])
    assert not steps.can_pool_frames(network(net.model()).units[0])
    net = Net(1, 2, 7, 8)
    net.add("MaxPool", "x", kernel_shape=[2, 2])
    assert not steps.can_pool_frames(network(net.model()).units[0])


def counted(op, kernel):
    net = Net(1, 2, 6, 8, 8)
    net.add(op, "x", kernel_shape=kernel, strides=kernel)
    found = ops(frames_pool(network(net.model()).units[0]))
    return {name: count for name, count in found.items() if name not in ("Reshape", "Transpose")}


def test_node_counts():
    assert counted("MaxPool", [3, 2, 2]) == {"MaxPool": 1, "Slice": 3, "Max": 2}
    assert counted("AveragePool", [3, 2, 2]) == {"AveragePool": 1, "Slice": 3, "Add": 2, "Mul": 1}
    assert counted("MaxPool", [1, 2, 2]) == {"MaxPool": 1}
    assert counted("MaxPool", [2, 1, 1]) == {"Slice": 2, "Max": 1}
