import numpy as np
import pytest
from support.eight_bits import samples
from support.graphs import Net, assert_close, run

from tdedge_exporters.quantize.equalise import equalised, links
from tdedge_exporters.quantize.quantize import quantize
from tdedge_exporters.quantize.report import outputs_sqnr_db
from tdedge_exporters.quantize.settings import Int8


def uneven(spread=100.0, activation="", groups=1, pool=False, spatial=2, seed=0):
    """A chain whose links carry channels of very different range, as truncated singular vectors do."""
    size = (10,) * spatial
    net = Net(1, 3, *size, seed=seed)
    kernel = (3,) * spatial
    decay = spread ** -np.linspace(0, 1, 8)
    shape = (-1, *(1,) * (spatial + 1))
    first = net.rng.standard_normal((8, 3, *(1,) * spatial)) * decay.reshape(shape)
    net.conv("x", 8, 3, *(1,) * spatial, weight=net.weight(array=first), bias=False, name="a")
    value = net.add(activation, "a", name="act") if activation else "a"
    if pool:
        value = net.add("MaxPool", value, kernel_shape=[2] * spatial, strides=[2] * spatial, name="pool")
    middle = net.rng.standard_normal((8, 8 // groups, *kernel)) / decay.reshape(
        (1, -1, *(1,) * spatial) if groups == 1 else shape
    )
    net.conv(
        value, 8, 8, *kernel, weight=net.weight(array=middle), groups=groups, pads=1, bias=True, name="b"
    )
    net.conv("b", 5, 8, *(1,) * spatial, bias=True, name="y")
    return net.model()


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("activation", ["", "Relu", "LeakyRelu"])
def test_it_is_exact(spatial, groups, activation):
    if groups == 2:  # the decay of the test network is per channel; any network will do here
        net = Net(1, 4, *(8,) * spatial)
        net.conv("x", 8, 4, *(3,) * spatial, bias=True, pads=1, name="a")
        net.conv(net.add(activation or "Identity", "a"), 6, 8, *(3,) * spatial, groups=2, bias=True, name="y")
        model = net.model()
    else:
        model = uneven(activation=activation, groups=groups, spatial=spatial)
    feeds = samples(model, 2)
    made, rescaled = equalised(model, feeds)
    x = feeds[1]["x"]
    assert rescaled or groups == 2
    assert_close(run(made, x), run(model, x), 2e-5)


@pytest.mark.parametrize("pool", [False, True])
def test_a_chain_of_uneven_channels_gains_decibels(pool):
    model = uneven(activation="Relu", pool=pool)
    feeds, held_out = samples(model, 8), samples(model, 4, seed=9)
    made, rescaled = equalised(model, feeds)
    before = outputs_sqnr_db(model, quantize(model, feeds, Int8()).model, held_out)
    after = outputs_sqnr_db(model, quantize(made, feeds, Int8()).model, held_out)
    assert after > before + 3
    assert any(each.noise_db > 3 for each in rescaled)


def test_even_channels_are_left_alone():
    net = Net(1, 3, 12, 12)
    net.conv("x", 8, 3, 1, 1, weight=net.weight(array=np.ones((8, 3, 1, 1))), name="a")
    net.conv("a", 4, 8, 3, 3, weight=net.weight(array=np.ones((4, 8, 3, 3))), name="y")
    model = net.model()
    made, rescaled = equalised(model, samples(model, 2))
    assert rescaled == []
    held = made.graph.initializers["w0"].const_value.numpy()
    np.testing.assert_array_equal(held, np.ones((8, 3, 1, 1)))


def test_what_has_two_readers_or_a_shared_weight_is_no_link():
    net = Net(1, 4, 8, 8)
    net.conv("x", 4, 4, 1, 1, name="a")
    net.conv("a", 4, 4, 1, 1, name="b")
    net.conv("a", 4, 4, 1, 1, name="c")
    weight = net.weight(4, 4, 1, 1)
    net.add("Add", "b", "c", name="s")
    net.conv("s", 4, 4, 1, 1, weight=weight, name="d")
    net.conv("d", 4, 4, 1, 1, weight=weight, name="y")
    assert links(net.model()) == []


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh"])
def test_what_is_not_homogeneous_is_no_link(op):
    net = Net(1, 4, 8, 8)
    net.conv("x", 4, 4, 1, 1, name="a")
    net.add(op, "a", name="s")
    net.conv("s", 4, 4, 1, 1, name="y")
    assert links(net.model()) == []


def test_fully_connected_layers_are_links_too():
    net = Net(2, 6)
    net.add("Gemm", "x", net.weight(array=np.diag(10.0 ** -np.arange(6))), net.weight(6), transB=1, name="a")
    net.add("Relu", "a", name="b")
    net.add("Gemm", "b", net.weight(array=np.outer(10.0 ** np.arange(6), [1, 2])), net.weight(2), name="y")
    model = net.model()
    feeds = samples(model, 4)
    made, rescaled = equalised(model, feeds)
    assert [each.value for each in rescaled] == ["b"]
    assert_close(run(made, feeds[0]["x"]), run(model, feeds[0]["x"]), 1e-5)
