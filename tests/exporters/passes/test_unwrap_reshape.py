import numpy as np
import pytest
from support.graphs import Net, assert_rewrites, ops, reasons

from tdedge_exporters.passes.unwrap_reshape import UnwrapReshapePass


class Run:
    def __call__(self, model):
        step = UnwrapReshapePass()
        self.modified = step(model).modified
        self.records = step.records


def reshape(net, x, *shape):
    return net.add("Reshape", x, net.weight(array=np.array(shape)))


def wrap(net, x, spatial, body, channels=5, batch=2):
    """``body`` on flattened positions."""
    flat = reshape(net, x, batch, 4, int(np.prod(spatial)))
    return reshape(net, body(flat), batch, channels, *spatial)


@pytest.mark.parametrize("spatial", [(6, 7), (3, 4, 5), (12,)])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_wrapped_conv(spatial, groups):
    net = Net(2, 4, *spatial)
    net.add("Relu", wrap(net, "x", spatial, lambda v: net.conv(v, 6, 4, 1, groups=groups, bias=True), 6))
    model = assert_rewrites(net, Run())
    assert ops(model) == {"Conv": 1, "Relu": 1}
    conv = next(node for node in model.graph if node.op_type == "Conv")
    assert conv.inputs[1].shape.numpy() == (6, 4 // groups, *(1,) * len(spatial))
    assert conv.outputs[0].shape.numpy() == (2, 6, *spatial)


def test_everything_pointwise_between_the_reshapes_moves():
    net = Net(2, 4, 6, 7)

    def body(value):
        value = net.add("Mul", value, net.weight(4, 1))
        value = net.add("Relu", net.conv(value, 3, 4, 1))
        value = net.add("Sub", net.weight(1, 3, 1), value)
        value = net.add("Clip", value, net.weight(array=np.float32(-1)), net.weight(array=np.float32(2)))
        names = [net.weight(3) for _ in range(3)] + [net.weight(array=np.ones(3))]
        value = net.add("BatchNormalization", value, *names)
        return net.conv(value, 5, 3, 1, bias=True)

    wrap(net, "x", (6, 7), body)
    model = assert_rewrites(net, Run())
    assert "Reshape" not in ops(model)
    assert ops(model)["Conv"] == 2


def test_reshapes_between_layers_that_keep_the_channels():
    net = Net(2, 4, 6, 7)
    value = net.conv(reshape(net, "x", 2, 4, 42), 3, 4, 1)
    value = net.conv(reshape(net, value, 2, 3, 2, 21), 3, 3, 1, 1)
    reshape(net, value, 2, 3, 6, 7)
    assert ops(assert_rewrites(net, Run())) == {"Conv": 2}


def test_a_flattened_input_shared_by_two_paths():
    net = Net(2, 4, 6, 7)
    flat = reshape(net, "x", 2, 4, 42)
    left, right = (reshape(net, net.conv(flat, 5, 4, 1), 2, 5, 6, 7) for _ in range(2))
    net.add("Add", left, right)
    assert ops(assert_rewrites(net, Run())) == {"Conv": 2, "Add": 1}


def test_symbolic_batch():
    net = Net("n", 4, 6, 7)
    value = net.conv(reshape(net, "x", 0, 4, 42), 5, 4, 1)
    reshape(net, value, 0, 5, 6, 7)
    model = assert_rewrites(net, Run())
    assert ops(model) == {"Conv": 1}
    assert str(model.graph.outputs[0].shape[0]) == "n"


def left_alone(net, *outputs):
    rewrite = Run()
    assert_rewrites(net, rewrite, *outputs)
    assert not rewrite.modified
    return reasons(rewrite.records)


def test_other_spatial_sizes_are_left_alone():
    net = Net(2, 4, 6, 7)
    reshape(net, net.conv(reshape(net, "x", 2, 4, 42), 5, 4, 1), 2, 5, 7, 6)
    assert left_alone(net) == "spatial sizes (6, 7) go in, (7, 6) come out"


def test_a_conv_over_the_flattened_axis_is_left_alone():
    net = Net(2, 4, 6, 7)
    wrap(net, "x", (6, 7), lambda v: net.conv(v, 5, 4, 3, pads=1))
    assert "mixes positions across the flattened axes" in left_alone(net)


def test_a_padded_pointwise_conv_is_left_alone():
    net = Net(2, 4, 6, 7)
    value = net.conv(reshape(net, "x", 2, 4, 42), 5, 4, 1, pads=[1, 0])
    reshape(net, value, 2, 5, 1, 43)
    assert left_alone(net) == "spatial sizes (6, 7) go in, (1, 43) come out"


def test_a_constant_per_position_is_left_alone():
    net = Net(2, 4, 6, 7)
    wrap(net, "x", (6, 7), lambda v: net.add("Add", net.conv(v, 5, 4, 1), net.weight(42)))
    assert "differs between positions" in left_alone(net)


def test_two_activations_are_left_alone():
    net = Net(2, 4, 6, 7)
    flat = reshape(net, "x", 2, 4, 42)
    value = net.add("Mul", net.conv(flat, 4, 4, 1), flat)
    reshape(net, value, 2, 4, 6, 7)
    assert "Mul of two activations" in left_alone(net)


def test_an_inner_value_with_two_consumers_is_left_alone():
    net = Net(2, 4, 6, 7)
    value = net.conv(reshape(net, "x", 2, 4, 42), 5, 4, 1, name="inner")
    reshape(net, value, 2, 5, 6, 7)
    net.nodes[-1].output[0] = "y"
    net.add("ReduceSum", value, name="z")
    assert "'inner' has 2 consumers" in left_alone(net, "y", "z")


def test_an_inner_graph_output_is_left_alone():
    net = Net(2, 4, 6, 7)
    value = net.conv(reshape(net, "x", 2, 4, 42), 5, 4, 1, name="inner")
    end = reshape(net, value, 2, 5, 6, 7)
    assert "'inner' is a graph output" in left_alone(net, end, "inner")


def test_a_reshape_that_mixes_batch_or_channels_is_none_of_ours():
    net = Net(2, 4, 6, 7)
    value = net.conv(reshape(net, "x", 1, 8, 42), 8, 8, 1)
    reshape(net, value, 2, 4, 6, 7)
    assert left_alone(net) == ""
