import numpy as np
import pytest
from support.eight_bits import clip, residual, samples
from support.graphs import Net, ops, run

from tdedge_exporters.quantize.qdq import insert, strip
from tdedge_exporters.quantize.quantize import quantize
from tdedge_exporters.quantize.settings import Int8


def shuffled():
    """Padding, blocks in channels, a choice of two tensors, a joined constant: on the integers themselves."""
    net = Net(1, 2, 8, 8)
    net.conv("x", 4, 2, 3, 3, pads=1, bias=True, name="a")
    net.add("Pad", "a", net.weight(array=[0, 0, 1, 1, 0, 0, 1, 1]), name="padded")
    net.add("SpaceToDepth", "padded", blocksize=2, name="d")
    net.conv("d", 6, 16, 1, 1, name="b")
    net.conv("d", 6, 16, 1, 1, name="c")
    net.add("Max", "b", "c", name="m")
    net.add("Concat", "m", net.weight(array=np.zeros((1, 1, 5, 5))), axis=1, name="j")
    net.conv("j", 3, 7, 1, 1, name="y")
    return net.model()


@pytest.mark.parametrize("make", [residual, clip, shuffled])
def test_out_and_in_again_is_the_same_graph(make):
    model = make()
    feeds = samples(model, 2)
    made = quantize(model, feeds)
    real, grids = strip(made.model)
    assert grids.activations == made.grids.activations
    assert grids.edges == made.grids.edges
    assert grids.weights.keys() == made.grids.weights.keys()
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(ops(real))
    again = insert(real, grids)
    for feed in feeds:
        for one, other in zip(run(again, feed["x"]), run(made.model, feed["x"]), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("make", [residual, clip])
def test_the_stripped_graph_is_the_network_with_rounded_weights(make):
    model = make()
    feeds = samples(model, 2)
    made = quantize(model, feeds)
    real, grids = strip(made.model)
    for name, grid in grids.weights.items():
        held = real.graph.initializers[name].const_value.numpy()
        np.testing.assert_allclose(grid.round(held), held, atol=1e-6 * np.abs(held).max())
    (exact,), (rounded,) = run(model, feeds[0]["x"]), run(real, feeds[0]["x"])
    assert 0 < np.abs(exact - rounded).max() < 0.1 * np.abs(exact).max()


def test_moves_work_on_the_integers_themselves():
    made = quantize(shuffled(), samples(shuffled(), 2)).model
    kinds = {node.op_type: {value.dtype.name for value in node.outputs} for node in made.graph}
    assert kinds["SpaceToDepth"] == kinds["Max"] == kinds["Pad"] == {"UINT8"}
    assert all(v.uses() or v.is_graph_output() for node in made.graph for v in node.outputs)


def test_a_convolution_at_the_end_keeps_the_name_of_its_output():
    model = shuffled()
    made = quantize(model, samples(model, 2)).model
    assert [value.name for value in made.graph.outputs] == ["y"]
    assert made.graph.outputs[0].producer().op_type == "DequantizeLinear"


def test_a_weight_that_two_products_read_is_stored_once():
    net = Net(1, 4, 6, 6)
    weight = net.weight(4, 4, 3, 3)
    net.conv("x", 4, 4, 3, 3, pads=1, weight=weight, name="a")
    net.conv("a", 4, 4, 3, 3, pads=1, weight=weight, name="y")
    model = net.model()
    made = quantize(model, samples(model, 2))
    stored = [
        v for v in made.model.graph.initializers.values() if v.dtype.name == "INT8" and len(v.shape) == 4
    ]
    assert len(stored) == 1
    assert made.report.sqnr_db > 25


def test_a_kept_product_is_held_apart_from_the_grid_behind_it():
    net = Net(1, 4, 6, 6)
    net.conv("x", 4, 4, 1, 1, name="a")
    net.conv("a", 4, 4, 3, 3, pads=1, name="b")
    net.conv("b", 4, 4, 1, 1, name="y")
    model = net.model()
    feeds = samples(model, 2)
    made = quantize(model, feeds, Int8(keep=("n_b",))).model
    path, node = [], next(node for node in made.graph if node.name == "n_y")
    while node is not None and node.name != "n_b":
        path.append(node.op_type)
        node = node.inputs[0].producer()
    assert path == ["Conv", "DequantizeLinear", "QuantizeLinear", "LeakyRelu"]
    real, grids = strip(made)
    assert ops(real) == {"Conv": 3}
    (exact,), (again,) = run(made, feeds[0]["x"]), run(insert(real, grids), feeds[0]["x"])
    np.testing.assert_array_equal(again, exact)
