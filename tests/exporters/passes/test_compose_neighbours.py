import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.graphs import Net, assert_rewrites, ops, reasons

from tdedge_exporters.chains import find_chains
from tdedge_exporters.passes import compose_neighbours
from tdedge_exporters.passes.compose_neighbours import ComposeNeighboursPass


def macs(model):
    return sum(site.chain.macs(site.input_shape) for site in find_chains(model))


class Run:
    """Applies the pass and remembers what it said and saved."""

    def __call__(self, model):
        self.before, self.count = macs(model), sum(1 for _ in model.graph)
        step = ComposeNeighboursPass()
        self.modified = step(model).modified
        self.records, self.after = step.records, macs(model)
        self.saved = len(list(model.graph)) < self.count


def conv_runs():
    """A random run of convolutions: (axes, layers of (out, kernel, stride, pad, dilation, groups, bias))."""
    layer = st.tuples(
        st.sampled_from([2, 4, 6]),
        st.sampled_from([1, 1, 2, 3]),
        st.sampled_from([1, 1, 2]),
        st.sampled_from([0, 0, 1]),
        st.sampled_from([1, 1, 2]),
        st.sampled_from([1, 1, 2]),
        st.booleans(),
    )
    return st.tuples(st.integers(1, 3), st.lists(layer, min_size=2, max_size=4), st.integers(0, 10**6))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conv_runs())
def test_random_runs_keep_their_outputs_and_never_cost_more(run_of):
    axes, layers, seed = run_of
    net = Net(1, 4, *(17, 15, 16)[:axes], seed=seed)
    value, channels, size = "x", 4, 15
    for out, kernel, stride, pad, dilation, groups, bias in layers:
        size = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        if size < 1:
            break
        value = net.conv(
            value,
            out,
            channels,
            *(kernel,) * axes,
            bias=bias,
            pads=pad,
            groups=groups,
            strides=[stride] * axes,
            dilations=[dilation] * axes,
        )
        channels = out
    net.add("Neg", value)
    rewrite = Run()
    assert_rewrites(net, rewrite, tolerance=2e-5)
    assert rewrite.after <= rewrite.before
    assert rewrite.modified == (rewrite.saved or rewrite.after < rewrite.before)


@pytest.mark.parametrize("widths", list(itertools.product([2, 16], repeat=3)))
def test_linear_runs(widths):
    net = Net(3, 8)
    value, size = "x", 8
    for width in widths:
        value = net.add("Gemm", value, net.weight(size, width), net.weight(width))
        size = width
    rewrite = Run()
    assert_rewrites(net, rewrite)
    best = min(
        sum(3 * a * b for a, b in itertools.pairwise((8, *cut, widths[-1])))
        for cut in ([], widths[:1], widths[1:2], widths[:2])
    )
    assert rewrite.after == best


def test_linear_in_channels_last():
    net = Net(2, 3, 8)
    first = net.add("Add", net.add("MatMul", "x", net.weight(8, 8)), net.weight(8))
    net.add("Add", net.add("MatMul", first, net.weight(8, 2)), net.weight(2))
    model = assert_rewrites(net, Run())
    assert ops(model) == {"MatMul": 1, "Add": 1}


def test_the_cheapest_cut_is_found_and_explained():
    """4 -> 4 (3x3, dear) -> 2 (pointwise) -> 8 -> 3: composing (0, 1) and (2, 3) saves, (1, 2) does not."""
    net = Net(1, 4, 12, 12)
    first = net.conv("x", 4, 4, 3, 3, pads=1, name="a")
    second = net.conv(first, 2, 4, 1, 1, name="b")
    third = net.conv(second, 8, 2, 1, 1, name="c")
    net.conv(third, 3, 8, 1, 1, bias=True, name="d")
    rewrite = Run()
    model = assert_rewrites(net, rewrite)
    assert [node.name for node in model.graph] == ["n_b", "n_d"]
    assert rewrite.after == 144 * (4 * 9 * 2 + 2 * 3)
    assert "composed n_a, n_b: 21,888 -> 10,368 MACs" in reasons(rewrite.records, True)
    assert "composing it with the factor before it does not save" in reasons(rewrite.records)


def test_equal_macs_with_fewer_factors_is_taken():
    """A depthwise 1x1 after a dense one: 4*4 + 4 against 4*4 wins; a dense 1x1 of one channel pair ties."""
    net = Net(1, 1, 9)
    net.conv(net.conv("x", 1, 1, 2, name="a"), 1, 1, 1, name="b")
    rewrite = Run()
    assert ops(assert_rewrites(net, rewrite)) == {"Conv": 1}
    assert rewrite.after < rewrite.before
    net = Net(1, 2, 8, 9)
    net.conv(net.conv("x", 2, 2, 2, 1, groups=2), 2, 2, 1, 2, groups=2)
    rewrite = Run()
    assert ops(assert_rewrites(net, rewrite)) == {"Conv": 1}


def test_a_decomposition_that_pays_is_left_alone():
    net = Net(1, 16, 12, 12)
    first = net.conv("x", 3, 16, 1, 1)
    second = net.conv(first, 3, 3, 3, 3, pads=1)
    net.conv(second, 16, 3, 1, 1, bias=True)
    rewrite = Run()
    model = assert_rewrites(net, rewrite)
    assert not rewrite.modified
    assert ops(model) == {"Conv": 3}


def left_alone(net, *outputs):
    rewrite = Run()
    model = assert_rewrites(net, rewrite, *outputs)
    assert not rewrite.modified
    return reasons(rewrite.records), model


def test_an_activated_link_is_left_alone():
    net = Net(1, 4, 8, 8)
    net.conv(net.add("Relu", net.conv("x", 4, 4, 1, 1)), 2, 4, 1, 1)
    said, _ = left_alone(net)
    assert said == "the link carries an activation (relu)"


def test_a_bias_that_leaks_through_padding_is_left_alone():
    net = Net(1, 4, 8, 8)
    net.conv(net.conv("x", 4, 4, 1, 1, bias=True), 2, 4, 3, 3, pads=1)
    said, _ = left_alone(net)
    assert "bias would leak through the second's padding ((1, 1), (1, 1))" in said


def test_padding_along_an_axis_the_first_extends_over_is_left_alone():
    net = Net(1, 4, 8, 8)
    net.conv(net.conv("x", 4, 4, 3, 3, pads=1), 2, 4, 3, 3, pads=1)
    said, _ = left_alone(net)
    assert "pads spatial axis 0 by (1, 1), along which the first has 3 taps" in said


def test_shared_weights_are_left_alone():
    net = Net(1, 4, 8, 8)
    weight = net.weight(4, 4, 1, 1, name="w")
    net.conv(net.conv("x", 4, 4, 1, 1, weight=weight, name="a"), 4, 4, 1, 1, weight=weight, name="b")
    said, model = left_alone(net)
    assert "the weight 'w' of n_a is shared with other nodes" in said
    assert list(model.graph.initializers) == ["w"]


def test_a_shared_bias_is_no_obstacle():
    net = Net(1, 4, 8, 8)
    bias = net.weight(4)
    first = net.add("Conv", "x", net.weight(4, 4, 1, 1), bias)
    net.add("Conv", first, net.weight(4, 4, 1, 1), bias)
    assert ops(assert_rewrites(net, Run())) == {"Conv": 1}


def test_a_link_that_is_a_graph_output_is_left_alone():
    net = Net(1, 4, 8)
    first = net.conv("x", 4, 4, 1, name="a")
    said, _ = left_alone(net, net.conv(first, 2, 4, 1), "a")
    assert said == "the link before it must stay: 'a' is a graph output"


def test_a_link_with_two_consumers_is_left_alone():
    net = Net(1, 4, 8)
    first = net.conv("x", 4, 4, 1, name="a")
    net.add("Add", net.conv(first, 4, 4, 1), first)
    said, _ = left_alone(net)
    assert said == "the link before it must stay: 'a' has 2 consumers"


def test_weights_that_are_no_constants_are_explained():
    net = Net(1, 4, 8)
    net.conv("x", 2, 4, 1, weight=net.add("Relu", net.weight(2, 4, 1)))
    said, _ = left_alone(net)
    assert "is not a constant" in said


def test_huge_composed_kernels_are_not_built(monkeypatch):
    monkeypatch.setattr(compose_neighbours, "MAX_ELEMENTS", 15)
    net = Net(1, 4, 8)
    net.conv(net.conv("x", 4, 4, 1), 4, 4, 1)
    said, _ = left_alone(net)
    assert said == "the composed kernel would have up to 16 elements"


def test_dynamic_batch():
    net = Net("batch", 4, 8, 8)
    net.add("Relu", net.conv(net.conv("x", 4, 4, 3, 3, pads=1), 2, 4, 1, 1, bias=True))
    model = assert_rewrites(net, Run())
    assert ops(model) == {"Conv": 1, "Relu": 1}
    assert str(model.graph[0].outputs[0].shape[0]) == "batch"


def test_the_last_activation_stays():
    net = Net(1, 4, 8)
    net.add("Tanh", net.conv(net.conv("x", 4, 4, 1), 2, 4, 1))
    assert ops(assert_rewrites(net, Run())) == {"Conv": 1, "Tanh": 1}


def test_weights_keep_their_element_type():
    net = Net(1, 4, 8, dtype=np.float64)
    net.conv(net.conv("x", 4, 4, 1), 2, 4, 1, bias=True)
    model = assert_rewrites(net, Run(), tolerance=1e-12)
    assert {str(value.dtype) for value in model.graph.initializers.values()} == {"DOUBLE"}
