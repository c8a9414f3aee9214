"""Values held negated, so that differences become sums: the same to the last bit."""

import numpy as np
import pytest
from support.graphs import Net, ops, run
from support.planning import single

from tdedge_exporters.planner.emitter import Emitter
from tdedge_exporters.planner.forms.minimal import filtering, gather, spread
from tdedge_exporters.signs import choose_signs, number_of

CHANNELS = 4


def random_net(seed):
    """Convolutions, sums, differences, products with a number and activations over one another."""
    rng = np.random.default_rng(seed)
    net = Net(1, CHANNELS, 5, 6, seed=seed)
    values = ["x"]
    for _ in range(30):
        first, second = (values[-min(len(values), int(rng.integers(1, 6)))] for _ in range(2))
        match int(rng.integers(0, 12)):
            case 0 | 1 | 2 | 3:
                bias = bool(rng.integers(0, 2))
                made = net.conv(first, CHANNELS, CHANNELS, 3, 3, pads=1, bias=bias)
            case 4 | 5 | 6 | 7:
                made = net.add("Sub", first, second)
            case 8 | 9:
                made = net.add("Add", first, second)
            case 10:
                number = net.weight(array=np.float32(rng.choice([-2.0, 0.5, 3.0])))
                made = net.add("Mul", *((first, number) if rng.integers(0, 2) else (number, first)))
            case _:
                made = net.add("Relu", first)
        values.append(made)
    return net, [values[-1], values[-4]]


@pytest.mark.parametrize("seed", range(60))
def test_any_network_is_the_same_to_the_last_bit(seed):
    net, outputs = random_net(seed)
    model, x = net.model(*outputs), net.sample(1)
    before, expected = ops(model), run(model, x)
    names = {value.name for node in model.graph for value in node.outputs}
    choose_signs(model)
    after = ops(model)
    assert all(np.array_equal(a, b) for a, b in zip(run(model, x), expected, strict=True))
    assert after.get("Sub", 0) <= before.get("Sub", 0)
    sums = [found.pop("Sub", 0) + found.pop("Add", 0) for found in (before, after)]
    assert sums[0] == sums[1] and before == after
    assert [value.name for value in model.graph.outputs] == outputs
    for node in model.graph:
        for value in node.outputs:
            assert value.name in names or value.name.endswith(".minus")


def test_most_random_networks_lose_differences():
    lost = []
    for seed in range(60):
        net, outputs = random_net(seed)
        model = net.model(*outputs)
        before = ops(model).get("Sub", 0)
        choose_signs(model)
        lost.append(before - ops(model).get("Sub", 0))
    assert np.median(lost) >= 2


def frames(outputs, blocks):
    """Minimal filtering of frames that a pointwise factor gives, before another pointwise factor."""
    plan = filtering(outputs, 3)
    rng = np.random.default_rng(0)

    def body(e: Emitter, x):
        count = outputs * blocks + 2
        parts = e.ops("Split", [x, e.integers([1] * count)], [(1, CHANNELS, 6, 7)] * count, axis=0)
        first = e.constant(rng.standard_normal((CHANNELS, CHANNELS, 1, 1)).astype(np.float32))
        kernels = [rng.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32) for _ in plan.kernels]
        given, found = [e.conv(part, first) for part in parts], []
        for begin in range(0, outputs * blocks, outputs):
            met = spread(e, plan, given[begin : begin + plan.products])
            products = [
                e.conv(v, scale * kernel, pads=((1, 1),) * 2)
                for (v, scale), kernel in zip(met, kernels, strict=True)
            ]
            found += [e.conv(value, first) for value in gather(e, plan, products)]
        return e.concat(found, 0)

    return single((outputs * blocks + 2, CHANNELS, 6, 7), body)


@pytest.mark.parametrize(("outputs", "before", "after"), [(2, 3 + 1, 1 + 1), (4, 8 + 2, 2 + 2)])
def test_of_minimal_filtering_behind_a_factor(outputs, before, after):
    blocks = 5
    model = frames(outputs, blocks)
    x = np.random.default_rng(1).standard_normal([int(n) for n in model.graph.inputs[0].shape])
    x = x.astype(np.float32)
    (expected,) = run(model, x)
    held = sum(value.name.startswith("plan.constant") for value in model.graph.initializers.values())
    assert ops(model)["Sub"] == blocks * before
    choose_signs(model)
    assert ops(model)["Sub"] == blocks * after
    (y,) = run(model, x)
    assert np.array_equal(y, expected)
    assert len(model.graph.initializers) <= 2 * held


def held_by(reader):
    """``a - b`` of two convolutions, where something else reads b too."""
    net = Net(1, CHANNELS, 5, 6)
    a, b = (net.conv("x", CHANNELS, CHANNELS, 3, 3, pads=1, name=name) for name in "ab")
    net.conv(net.add("Sub", a, b, name="d"), CHANNELS, CHANNELS, 1, 1, name="y")
    outputs = ["y"]
    if reader == "an output":
        outputs.append("b")
    elif reader is not None:
        outputs.append(net.add(reader, "b"))
    return net.model(*outputs), net.sample(1)


@pytest.mark.parametrize("reader", ["an output", "Relu", "Sigmoid", "Neg", "GlobalAveragePool"])
def test_what_others_read_is_held_as_it_is(reader):
    model, x = held_by(reader)
    expected = run(model, x)
    choose_signs(model)
    # b has to stay, but a can be held negated: (-a) + b is -(a - b).
    assert "Sub" not in ops(model)
    values = {value.name for node in model.graph for value in node.outputs}
    assert "b" in values and {"a.minus", "d.minus"} <= values
    assert all(np.array_equal(a, b) for a, b in zip(run(model, x), expected, strict=True))


def test_a_value_that_is_negated_has_another_name():
    model, x = held_by(None)
    (expected,) = run(model, x)
    choose_signs(model)
    values = {value.name for node in model.graph for value in node.outputs}
    assert ops(model) == {"Conv": 3, "Add": 1}
    assert len(values & {"a.minus", "b.minus"}) == 1
    assert np.array_equal(run(model, x)[0], expected)


def test_signs_that_cannot_be_held_are_given_up():
    """Of a and b both negated the sum would be negated, which a ReLU must not read."""
    net = Net(1, CHANNELS, 5, 6)
    a, b = (net.conv("x", CHANNELS, CHANNELS, 3, 3, pads=1) for _ in range(2))
    found = [net.add("Relu", net.add(op, *read)) for op, *read in (("Sub", "x", a), ("Sub", "x", b))]
    found.append(net.add("Relu", net.add("Add", a, b)))
    model, x = net.model(*found), net.sample(1)
    expected = run(model, x)
    choose_signs(model)
    assert all(np.array_equal(p, q) for p, q in zip(run(model, x), expected, strict=True))
    assert ops(model)["Sub"] <= 2


def test_a_network_without_differences_is_left_alone():
    net = Net(1, CHANNELS, 5, 6)
    net.add("Relu", net.add("Add", net.conv("x", CHANNELS, CHANNELS, 1, 1), "x"))
    model = net.model()
    before = [(node.name, node.op_type) for node in model.graph], sorted(model.graph.initializers)
    choose_signs(model)
    assert ([(node.name, node.op_type) for node in model.graph], sorted(model.graph.initializers)) == before


def test_weights_that_are_no_constants_keep_their_signs():
    net = Net(1, CHANNELS, 5, 5)
    a = net.conv("x", CHANNELS, CHANNELS, 1, 1)
    weights = net.add("Sub", net.weight(CHANNELS, CHANNELS, 1, 1), net.weight(CHANNELS, CHANNELS, 1, 1))
    net.add("Conv", net.add("Sub", "x", a), weights, kernel_shape=[1, 1])
    model, x = net.model(), net.sample(1)
    (expected,) = run(model, x)
    choose_signs(model)
    assert np.array_equal(run(model, x)[0], expected)


def test_the_number_of_a_product():
    net = Net(1, CHANNELS, 5, 5)
    net.add("Mul", net.weight(array=np.float32(3.0)), "x", name="left")
    net.add("Mul", "x", net.weight(array=np.float32([[0.5]])), name="right")
    net.add("Mul", "x", net.weight(1, CHANNELS, 1, 1), name="channels")
    net.add("Mul", "left", "right", name="values")
    net.add("Add", "x", net.weight(array=np.float32(3.0)), name="sum")
    model = net.model("values", "channels", "sum")
    assert [number_of(node) for node in model.graph] == [(0, 3.0), (1, 0.5), None, None, None]
