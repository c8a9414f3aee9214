import numpy as np
import onnx_ir as ir
import pytest
from support.graphs import Net, assert_rewrites, ops, reasons

from tdedge_exporters.passes.fold_affine import FoldAffinePass


class Run:
    def __call__(self, model):
        step = FoldAffinePass()
        self.modified = step(model).modified
        self.records = step.records


def batchnorm(net, x, channels, **attributes):
    scale, shift, mean = (net.weight(channels) for _ in range(3))
    variance = net.weight(array=net.rng.uniform(0.5, 2, channels))
    return net.add("BatchNormalization", x, scale, shift, mean, variance, **attributes)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_batchnorm_after_a_padded_conv(axes, groups, bias):
    net = Net(2, 4, *(7,) * axes)
    value = net.conv("x", 6, 4, *(3,) * axes, pads=1, groups=groups, bias=bias, strides=[2] * axes)
    net.add("Relu", batchnorm(net, value, 6, epsilon=1e-3))
    assert ops(assert_rewrites(net, Run())) == {"Conv": 1, "Relu": 1}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_batchnorm_after_a_transposed_conv(groups, bias):
    net = Net(2, 4, 5, 5)
    inputs = ["x", net.weight(4, 6 // groups, 3, 3), *([net.weight(6)] if bias else [])]
    value = net.add("ConvTranspose", *inputs, group=groups, strides=[2, 2], pads=[1, 1, 1, 1])
    batchnorm(net, value, 6)
    assert ops(assert_rewrites(net, Run())) == {"ConvTranspose": 1}


@pytest.mark.parametrize("transposed", [0, 1])
def test_batchnorm_around_a_gemm(transposed):
    net = Net(3, 4)
    before = batchnorm(net, "x", 4)
    weight = net.weight(5, 4) if transposed else net.weight(4, 5)
    value = net.add("Gemm", before, weight, net.weight(5), transB=transposed, alpha=0.5, beta=2.0)
    batchnorm(net, value, 5)
    assert ops(assert_rewrites(net, Run())) == {"Gemm": 1}


@pytest.mark.parametrize("op", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (6, 1, 1), (1, 6, 1, 1)])
@pytest.mark.parametrize("swap", [False, True])
def test_arithmetic_after_a_conv(op, shape, swap):
    net = Net(2, 4, 6, 6)
    value = net.conv("x", 6, 4, 3, 3, pads=1, bias=True)
    operands = [value, net.weight(array=net.rng.uniform(0.5, 2, shape))]
    net.add(op, *(reversed(operands) if swap else operands))
    rewrite = Run()
    model = assert_rewrites(net, rewrite)
    if op == "Div" and swap:
        assert not rewrite.modified
        assert "no affine map" in reasons(rewrite.records)
    else:
        assert ops(model) == {"Conv": 1}


def test_a_run_of_maps_folds_into_one_conv():
    net = Net(2, 4, 6, 6)
    value = net.add("Mul", net.conv("x", 6, 4, 3, 3, pads=1), net.weight(6, 1, 1))
    value = net.add("Add", batchnorm(net, value, 6), net.weight(6, 1, 1))
    net.add("Div", value, net.weight(array=np.float32(3)))
    assert ops(assert_rewrites(net, Run())) == {"Conv": 1}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("pads", [0, 1])
def test_a_scale_before_a_conv_is_exact_even_with_padding(groups, pads):
    net = Net(2, 4, 6, 6)
    value = net.add("Mul", net.add("Relu", "x"), net.weight(4, 1, 1))
    net.conv(value, 6, 4, 3, 3, groups=groups, pads=pads, bias=True)
    assert ops(assert_rewrites(net, Run())) == {"Relu": 1, "Conv": 1}


@pytest.mark.parametrize("groups", [1, 2])
def test_batchnorm_before_an_unpadded_conv(groups):
    net = Net(2, 4, 6, 6)
    net.conv(batchnorm(net, "x", 4), 6, 4, 3, 3, groups=groups, strides=[2, 1])
    assert ops(assert_rewrites(net, Run())) == {"Conv": 1}


def test_a_scale_before_a_transposed_conv():
    net = Net(2, 4, 6)
    value = net.add("Mul", "x", net.weight(4, 1))
    net.add("ConvTranspose", value, net.weight(4, 3, 3), group=2)
    assert ops(assert_rewrites(net, Run())) == {"ConvTranspose": 1}


def test_a_map_between_two_convs_goes_into_the_first():
    net = Net(1, 4, 6)
    first = net.conv("x", 4, 4, 1)
    net.conv(batchnorm(net, first, 4), 4, 4, 3, pads=1)
    rewrite = Run()
    assert ops(assert_rewrites(net, rewrite)) == {"Conv": 2}
    assert reasons(rewrite.records, True) == "BatchNormalization folded into the Conv before it"


def test_a_map_behind_a_graph_output_goes_into_the_second():
    net = Net(1, 4, 6)
    first = net.conv("x", 4, 4, 1, name="a")
    net.conv(net.add("Mul", first, net.weight(4, 1)), 4, 4, 3, pads=1, name="b")
    rewrite = Run()
    assert ops(assert_rewrites(net, rewrite, "b", "a")) == {"Conv": 2}
    assert reasons(rewrite.records, True) == "Mul folded into the Conv after it"


def test_shared_weights_are_copied():
    net = Net(1, 4, 6)
    weight = net.weight(4, 4, 1, name="w")
    left = net.add("Mul", net.conv("x", 4, 4, 1, weight=weight), net.weight(4, 1))
    net.add("Add", left, net.conv("x", 4, 4, 1, weight=weight))
    model = assert_rewrites(net, Run())
    assert ops(model) == {"Conv": 2, "Add": 1}
    assert "w" in model.graph.initializers
    assert len(model.graph.initializers) == 2


def left_alone(net, *outputs):
    rewrite = Run()
    assert_rewrites(net, rewrite, *outputs)
    assert not rewrite.modified
    return reasons(rewrite.records)


@pytest.mark.parametrize("attributes", [{"pads": 1}, {"auto_pad": "SAME_UPPER"}])
def test_a_shift_before_padding_leaks(attributes):
    net = Net(1, 4, 6, 6)
    net.conv(batchnorm(net, "x", 4), 4, 4, 3, 3, **attributes)
    assert left_alone(net) == "its shift would leak through the Conv's zero padding"


def test_a_shift_before_a_transposed_conv_is_left_alone():
    net = Net(1, 4, 6)
    net.add("ConvTranspose", net.add("Add", "x", net.weight(4, 1)), net.weight(4, 3, 3))
    assert "in part only" in left_alone(net)


def test_a_conv_read_twice_is_left_alone():
    net = Net(1, 4, 6)
    first = net.conv("x", 4, 4, 1, name="a")
    net.add("Add", batchnorm(net, first, 4), first)
    assert "'a' has 2 consumers" in left_alone(net)


@pytest.mark.parametrize("shape", [(6,), (1, 1, 6), (4, 6), (2, 1, 1)])
def test_constants_that_vary_along_other_axes_are_left_alone(shape):
    net = Net(2, 4, 6)
    net.add("Mul", net.conv("x", 4, 4, 1), net.weight(*shape))
    assert "is not one number per channel" in left_alone(net)


def test_two_activations_are_no_map():
    net = Net(1, 4, 6)
    net.add("Mul", net.conv("x", 4, 4, 1), "x")
    assert left_alone(net) == ""


def test_computed_weights_are_left_alone():
    net = Net(1, 4, 6)
    value = net.conv("x", 4, 4, 1, weight=net.add("Relu", net.weight(4, 4, 1)))
    net.add("Mul", value, net.weight(4, 1))
    assert left_alone(net) == "the Conv's weight is not a constant"


def test_a_scaled_weight_is_not_taken_for_the_input():
    """The Mul scales what the Conv uses as its kernel."""
    net = Net(4, 4, 1)
    kernel = net.add("Mul", "x", net.weight(4, 1))
    net.add("Conv", net.weight(1, 4, 5), kernel)
    assert "gives the Conv's weights" in left_alone(net)


def test_training_mode_is_left_alone():
    net = Net(2, 4, 6)
    value = net.conv("x", 4, 4, 1)
    names = [net.weight(4) for _ in range(3)] + [net.weight(array=np.ones(4))]
    net.add("BatchNormalization", value, *names)
    model = net.model()
    next(node for node in model.graph if node.op_type == "BatchNormalization").attributes.add(
        ir.AttrInt64("training_mode", 1)
    )
    rewrite = Run()
    rewrite(model)
    assert not rewrite.modified
    assert "training mode" in reasons(rewrite.records)


def test_float64_is_exact():
    net = Net(2, 4, 6, dtype=np.float64)
    batchnorm(net, net.conv("x", 4, 4, 3, bias=True, pads=1), 4)
    assert_rewrites(net, Run(), tolerance=1e-12)
