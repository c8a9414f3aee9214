"""Lane packing, of frames and of volumes: every block shape, and everything that runs inside."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import Net, ops, run
from support.planning import SETTINGS, TOLERANCE, assert_factor, factors, sample, single

from tdedge.factor import Factor, Shape
from tdedge_exporters.planner import grouping
from tdedge_exporters.planner.forms import packed, volume
from tdedge_exporters.planner.forms.minimal import Filtering, filterings
from tdedge_exporters.planner.layouts import FRAMES, NATIVE, Layout, convert
from tdedge_exporters.planner.units import Unit, network


def model_of(
    factor: Factor,
    tail: Sequence[Unit],
    shape: Shape,
    result: Shape,
    blocks: Shape,
    reads: Layout | None,
    before: Sequence[Unit] = (),
    plan: Filtering | None = None,
) -> ir.Model:
    """The packed form between native tensors; as a volume where no layout is given."""

    def body(e, x):
        if reads is None:
            return volume.emit(e, x, factor, blocks, before=before, units=tail)
        if reads is Layout.FRAMES:
            x = convert(e, x, shape, NATIVE, FRAMES)
        y = packed.emit(e, x, factor, blocks, reads, plan=plan, before=before, units=tail)
        return convert(e, y, result, FRAMES, NATIVE) if len(blocks) == 3 else y

    return single(shape, body)


@st.composite
def dense_cases(draw, axes):
    """(factor, shape, blocks, layout) with a factor the form is for: begin pads within the kernel's reach."""
    factor, (batch, *rest) = draw(factors(axes, styles=("full", "full", "spatial", "temporal")))
    shape = (1 if axes == 3 else batch, *rest)
    blocks = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    reads = draw(st.sampled_from([Layout.NATIVE, Layout.FRAMES, None])) if axes == 3 else Layout.NATIVE
    return grouping.dense(factor), shape, blocks, reads


@settings(SETTINGS, max_examples=300)
@given(st.integers(1, 3).flatmap(dense_cases))
def test_any_geometry_and_block(case):
    factor, shape, blocks, reads = case
    x = sample(shape)
    (y,) = run(model_of(factor, (), shape, factor.output_shape(shape), blocks, reads), x)
    assert_factor(y, factor, x, f"{blocks} {reads}")
    for plan in filterings(factor, shape) if reads and len(blocks) == 3 else ():
        blocks = (plan.outputs, *blocks[1:])
        minimal = model_of(factor, (), shape, factor.output_shape(shape), blocks, reads, plan=plan)
        assert_factor(run(minimal, x)[0], factor, x, f"{blocks} {reads} minimal")


@settings(SETTINGS, max_examples=100)
@given(st.integers(1, 3).flatmap(factors))
def test_grouped_factors_written_dense(case):
    factor, shape = case
    x = sample(shape)
    dense = grouping.dense(factor)
    assert dense.groups == 1
    (y,) = run(single(shape, lambda e, x: e.activation(e.conv(
        x, dense.kernel, dense.bias, stride=dense.stride, pads=dense.pads, dilation=dense.dilation
    ), dense.activation)), x)  # fmt: skip
    assert_factor(y, factor, x)


@st.composite
def runs(draw):
    """(net, blocks, layout): a factor, pointwise ones on both sides, maps behind it, perhaps a pool."""
    axes = draw(st.integers(1, 3))
    blocks = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    kernel = [draw(st.integers(1, 4)) for _ in range(axes)]
    kernel[-1] = max(2, kernel[-1])
    pads = [draw(st.integers(0, k - 1)) for k in kernel * 2]
    stride = [draw(st.sampled_from([1, 1, 2])) for _ in range(axes)]
    sizes = [draw(st.integers(k, k + 9)) + 2 for k in kernel]
    batch, channels = 1 if axes == 3 else draw(st.integers(1, 2)), draw(st.integers(1, 3))
    net = Net(batch, channels, *sizes, seed=draw(st.integers(0, 99)))
    x, width = "x", draw(st.integers(1, 3))
    if draw(st.booleans()):
        x, channels = net.conv("x", width, channels, *[1] * axes), width
        x = net.add(draw(st.sampled_from(["Relu", "Tanh"])), x) if draw(st.booleans()) else x
    y = net.conv(x, width, channels, *kernel, pads=pads, strides=stride, bias=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 4))):
        step = draw(st.sampled_from(["conv", "act", "channel", "number", "left", "clip", "leaky"]))
        if step == "conv":
            wider = draw(st.integers(1, 4))
            y = net.conv(y, wider, width, *[1] * axes, bias=draw(st.booleans()))
            width = wider
        elif step == "act":
            y = net.add(draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "HardSwish", "Abs"])), y)
        elif step == "leaky":
            y = net.add("LeakyRelu", y, alpha=0.25)
        elif step == "clip":
            y = net.add("Clip", y, net.weight(array=-0.5), net.weight(array=1.5))
        elif step == "channel":
            y = net.add(draw(st.sampled_from(["Add", "Mul"])), y, net.weight(width, *[1] * axes))
        elif step == "number":
            y = net.add("Sub", y, net.weight(1))
        else:
            y = net.add("Sub", net.weight(1, width, *[1] * axes), y)
    if draw(st.booleans()):
        outputs = [(n + pads[i] + pads[axes + i] - kernel[i]) // stride[i] + 1 for i, n in enumerate(sizes)]
        window, step = (
            [b * draw(st.integers(1, max(1, min(3, o // b)))) for b, o in zip(blocks, outputs, strict=True)]
            for _ in range(2)
        )
        if all(w <= o for w, o in zip(window, outputs, strict=True)):
            op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
            net.add(op, y, kernel_shape=window, strides=step)
    reads = draw(st.sampled_from([Layout.NATIVE, Layout.FRAMES, None])) if axes == 3 else Layout.NATIVE
    return net, blocks, reads


@settings(SETTINGS, max_examples=300)
@given(runs())
def test_what_runs_inside(case):
    net, blocks, reads = case
    model = net.model()
    units = network(model).units
    count = int(packed.can_precede(units[0]))
    before, first, tail = units[:count], units[count], units[count + 1 :]
    body = tail[:-1] if tail and tail[-1].kind == "pool" else tail
    assert all(packed.can_follow(unit) for unit in body)
    assert body == tail or packed.can_pool(tail[-1], blocks)
    shape = units[0].input_shape
    x = sample(shape)
    (expected,) = run(model, x)
    scale = max(np.abs(expected).max(), 1e-2)
    known = filterings(first.factor, first.input_shape) if reads and len(blocks) == 3 else []
    for plan in (None, *(each for each in known if each.outputs == blocks[0])):
        planned = model_of(first.factor, tail, shape, units[-1].output_shape, blocks, reads, before, plan)
        (y,) = run(planned, x)
        assert y.shape == expected.shape
        assert np.abs(y - expected).max() <= TOLERANCE * scale
        assert "ReduceMax" not in ops(planned)
        factors_inside = sum(unit.kind == "factor" for unit in units) - 1
        assert ops(planned)["Conv"] == factors_inside + (plan.products if plan else 1)


def pool_unit(op="MaxPool", **attributes):
    net = Net(1, 2, 16, 16)
    net.conv("x", 2, 2, 3, 3, pads=1)
    net.add(op, net.nodes[-1].output[0], **attributes)
    return network(net.model()).units[-1]


@pytest.mark.parametrize(
    ("attributes", "blocks", "fits"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, (2, 2), True),
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, (2, 1), True),
        ({"kernel_shape": [4, 2], "strides": [2, 2]}, (2, 2), True),
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, (4, 2), False),
        ({"kernel_shape": [3, 3], "strides": [2, 2]}, (2, 2), False),
        ({"kernel_shape": [2, 2], "strides": [1, 2]}, (2, 2), False),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 1]}, (2, 2), False),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [2, 2]}, (2, 2), False),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, (2, 2), False),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, (2, 2), False),
    ],
)
def test_which_pools_fit(attributes, blocks, fits):
    assert packed.can_pool(pool_unit(**attributes), blocks) is fits


def test_what_may_follow():
    net = Net(1, 4, 8, 8)
    a = net.conv("x", 4, 4, 3, 3, pads=1)
    b = net.conv(a, 4, 4, 1, 1)  # joins
    c = net.add("HardSwish", b)  # joins
    d = net.conv(c, 4, 4, 1, 1, groups=2)  # grouped: does not
    e = net.conv(d, 4, 4, 1, 1, strides=[2, 2])  # moves positions
    net.add("Add", e, e)
    units = network(net.model()).units
    assert [packed.can_follow(unit) for unit in units[1:]] == [True, True, False, False, False]


def test_what_may_precede():
    """Padding, which is zeros before the pointwise factor too, must be zero after it."""
    net = Net(1, 4, 8, 8)
    free = net.conv("x", 4, 4, 1, 1)
    biased = net.conv(free, 4, 4, 1, 1, bias=True)
    bounded = net.add("Relu", net.conv(biased, 4, 4, 1, 1))
    lifted = net.add("Sigmoid", net.conv(bounded, 4, 4, 1, 1))
    grouped = net.conv(lifted, 4, 4, 1, 1, groups=2)
    net.conv(net.add("Abs", grouped), 4, 4, 3, 3)
    units = network(net.model()).units
    assert [packed.can_precede(unit) for unit in units] == [True, False, True, False, False, False, False]


def kernel(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_node_counts_of_a_block():
    """THETIS-like: packed once, one wide convolution, the rest inside, nothing unpacked at full width."""
    net = Net(1, 2, 8, 12, 12)
    a = net.conv("x", 2, 2, 5, 5, 5, pads=2)
    b = net.add("Relu", net.conv(a, 6, 2, 1, 1, 1, bias=True))
    net.add("MaxPool", b, kernel_shape=[2, 2, 2], strides=[2, 2, 2])
    units = network(net.model()).units
    shape, blocks = units[0].input_shape, (2, 2, 2)

    def body(e, x):
        return packed.emit(e, x, units[0].factor, blocks, Layout.FRAMES, units=units[1:])

    found = ops(single((8, 2, 12, 12), body))
    assert found == {"Pad": 1, "SpaceToDepth": 1, "Concat": 2, "Slice": 6 + 6, "Conv": 2, "Relu": 1, "Max": 3}
    assert packed.packings(units[0].factor, shape, 16)[0].blocks == (2, 2, 2)


def test_not_square_blocks_transpose():
    factor = Factor(kernel(2, 2, 3, 3), pads=((1, 1), (1, 1)))
    model = model_of(factor, (), (1, 2, 8, 8), (1, 2, 8, 8), (2, 4), Layout.NATIVE)
    assert ops(model) == {"Pad": 1, "Reshape": 4, "Transpose": 2, "Conv": 1}


@pytest.mark.parametrize(
    ("factor", "shape"),
    [
        (Factor(kernel(4, 4)), (1, 4)),
        (Factor(kernel(4, 2, 3, 3), groups=2), (1, 4, 8, 8)),
        (Factor(kernel(4, 4, 1, 1)), (1, 4, 8, 8)),
        (Factor(kernel(4, 4, 3, 3, 3)), (2, 4, 8, 8, 8)),
        (Factor(kernel(16, 4, 3, 3)), (1, 4, 8, 8)),  # the lanes are full
    ],
)
def test_nothing_to_pack(factor, shape):
    assert packed.packings(factor, shape, 16) == []


def test_packings_are_sorted_and_bounded():
    factor = Factor(kernel(3, 3, 3, 3), pads=((1, 1), (1, 1)))
    found = packed.packings(factor, (1, 3, 32, 32), 16)
    assert found == sorted(found, key=lambda each: -each.score)
    assert all(3 * np.prod(each.blocks) <= 4 * 16 for each in found)
    assert all(each.score > packed.fill(3, 16) for each in found)
    assert (1, 1) not in [each.blocks for each in found]


def test_fill():
    assert packed.fill(16, 16) == 1
    assert packed.fill(4, 16) == 0.25
    assert packed.fill(24, 16) == 0.75
