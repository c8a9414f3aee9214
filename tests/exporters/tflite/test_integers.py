"""Integer files: the numbers ONNX Runtime gives for the same QDQ graph, all of it in one partition."""

import numpy as np
import pytest
from support.graphs import Net
from support.integers_tflite import Integers, integers, sqnr_db

from tdedge_exporters.tflite.target import lower

#: dB between LiteRT and ONNX Runtime, which round sums and means at different places.
ALIKE = 35.0
#: dB of both to the float32 network.
NEAR = 30.0
MANY_AXES = "more than 4 axes"


def residual() -> Net:
    """Convolutions, dense, grouped, depthwise and pointwise; a sum, a padded pooling, a mean, a product."""
    net = Net(1, 3, 24, 24)
    a = net.add("Relu", net.conv("x", 16, 3, 3, 3, bias=True, pads=1, strides=(2, 2)), name="a")
    b = net.conv(a, 16, 16, 3, 3, groups=16, pads=2, dilations=(2, 2), bias=True, name="b")
    c = net.add("Relu", net.conv(b, 16, 16, 1, 1, bias=True), name="c")
    d = net.add("Relu", net.add("Add", a, c), name="d")
    e = net.add("MaxPool", d, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1), name="e")
    f = net.conv(e, 24, 16, 3, 3, groups=4, pads=1, name="f")
    g = net.add("Flatten", net.add("GlobalAveragePool", f, name="g"))
    net.add("Gemm", g, net.weight(10, 24), net.weight(10), transB=1, name="y")
    return net


def video() -> Net:
    """Kernels (k,k,k), (k,1,1) and (1,k,k), with strides along time, dense and depthwise."""
    net = Net(1, 3, 8, 16, 16)
    a = net.add("Relu", net.conv("x", 16, 3, 3, 3, 3, bias=True, pads=1), name="a")
    b = net.conv(a, 16, 16, 3, 1, 1, pads=[1, 0, 0, 1, 0, 0], name="b")
    c = net.add("Relu", net.conv(b, 16, 16, 1, 3, 3, bias=True, pads=[0, 1, 1, 0, 1, 1]), name="c")
    d = net.add("Relu", net.add("Add", a, c), name="d")
    e = net.add("MaxPool", d, kernel_shape=(2, 2, 2), strides=(2, 2, 2), name="e")
    f = net.add("Relu", net.conv(e, 24, 16, 3, 3, 3, pads=1, strides=(2, 2, 2), bias=True), name="f")
    g = net.conv(f, 24, 24, 3, 1, 1, groups=24, pads=[1, 0, 0, 1, 0, 0], name="g")
    h = net.conv(g, 24, 24, 1, 3, 3, groups=24, pads=[0, 1, 1, 0, 1, 1], name="h")
    i = net.add("Flatten", net.add("GlobalAveragePool", h))
    net.add("Gemm", i, net.weight(10, 24), net.weight(10), transB=1, name="y")
    return net


def before_and_after(operator: str, *shape: int, **attributes) -> Net:
    """A convolution, an operator, a convolution."""
    net = Net(1, 8, *(shape or (12, 12)))
    ones = [1] * len(net.shape[2:])
    a = net.add(operator, net.conv("x", 8, 8, *ones, bias=True, name="a"), name="b", **attributes)
    net.conv(a, 4, 8, *ones, name="y")
    return net


def check(made: Integers, *, alike: float = ALIKE, near: float = NEAR) -> None:
    """One partition, outputs like those of ONNX Runtime, both near the float32 network's."""
    assert made.file.plan == ["DELEGATE"]
    for real, quantised, got in zip(*made.outputs(), strict=True):
        assert got.shape == real.shape
        assert got.dtype == np.float32
        assert sqnr_db(quantised, got) > alike
        assert sqnr_db(real, got) > near


def is_whole(made: Integers) -> bool:
    """True where every tensor but the float32 inputs and outputs holds integers."""
    ends = {each.name for each in (*made.model.graph.inputs, *made.model.graph.outputs)}
    return made.floats() == ends and not [n for n in made.file.notes if MANY_AXES not in n]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("net", [residual, video])
def test_network_is_one_partition_of_integers(net, layout):
    made = integers(net(), layout=layout)
    check(made)
    assert is_whole(made)
    assert made.file.ops.count("QUANTIZE") == made.file.ops.count("DEQUANTIZE") == 1
    assert (made.file.ops[0], made.file.ops[-1]) == ("QUANTIZE", "DEQUANTIZE")


@pytest.mark.parametrize("net", [residual, video])
def test_weights_have_a_scale_per_output_channel(net):
    made = integers(net())
    interpreter = made.file.interpreter
    details = {detail["index"]: detail for detail in made.details()}
    axes = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
    products = [op for op in interpreter._get_ops_details() if op["op_name"] in axes]
    assert {op["op_name"] for op in products} == set(axes)
    for op in products:
        x, weight, bias = (details[index] for index in op["inputs"])
        axis = axes[op["op_name"]]
        scales, zeros, along = (
            weight["quantization_parameters"][key] for key in ("scales", "zero_points", "quantized_dimension")
        )
        assert weight["dtype"] == np.int8
        assert along == axis
        assert len(scales) == weight["shape"][axis]
        assert len(set(scales)) > 1
        assert not zeros.any()
        assert np.abs(interpreter.get_tensor(weight["index"]).astype(int)).max() == 127
        assert bias["dtype"] == np.int32
        products_scale = x["quantization_parameters"]["scales"][0] * scales
        assert np.allclose(bias["quantization_parameters"]["scales"], products_scale, rtol=1e-6)


def test_grids_are_those_of_the_network_with_signed_integers():
    made = integers(residual())
    ours = {d["name"]: d["quantization"] for d in made.details() if d["dtype"] == np.int8}
    nodes = {node.inputs[0].name: node for node in made.model.graph if node.op_type == "QuantizeLinear"}
    named = [name for name in nodes if name in ours]
    assert {"a", "b", "c", "d", "f"} <= set(named)
    for name in named:
        scale, zero = (value.const_value.numpy() for value in nodes[name].inputs[1:3])
        assert ours[name] == (pytest.approx(float(scale)), int(zero) - 128)


def test_integer_inputs_and_outputs():
    made = integers(residual(), integer_io=True)
    assert made.file.plan == ["DELEGATE"]
    assert not made.floats()
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(made.file.ops)
    (x,), (y,) = made.file.interpreter.get_input_details(), made.file.interpreter.get_output_details()
    assert (x["dtype"], y["dtype"]) == (np.int8, np.int8)
    scale, zero = x["quantization"]
    whole = np.clip(np.rint(made.feed["x"] / scale) + zero, -128, 127).astype(np.int8)
    got = made.file.run({"x": whole})["y"]
    scale, zero = y["quantization"]
    (expected,) = integers(residual()).file.run(made.feed).values()
    assert np.allclose((got.astype(np.float32) - zero) * scale, expected, atol=1e-6)


def test_float_end_without_a_range_stays_float():
    net = before_and_after("Sigmoid")
    net.add("Exp", "y", name="z")
    made = integers(net, "z", integer_io=True)
    (z,) = made.file.interpreter.get_output_details()
    assert z["dtype"] == np.float32
    assert "'z' stay float32: nothing is known of their range" in made.file.notes


def test_input_that_is_an_output_on_integers():
    net = Net(1, 4, 6, 6)
    net.add("Relu", net.conv("x", 4, 4, 1, 1), name="y")
    net.add("Identity", "x", name="z")
    made = integers(net, "y", "z", integer_io=True)
    got = made.file.run({"x": np.full((1, 4, 6, 6), 7, np.int8)})
    assert got["z"].dtype == np.int8
    assert (got["z"] == 7).all()


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("AveragePool", {"kernel_shape": (2, 2), "strides": (2, 2)}),
        (
            "AveragePool",
            {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "count_include_pad": 1},
        ),
        ("LeakyRelu", {"alpha": 0.1}),
        ("MaxPool", {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
        ("Relu", {}),
        ("Sigmoid", {}),
    ],
)
def test_operator_on_integers(operator, attributes):
    made = integers(before_and_after(operator, **attributes))
    check(made)
    assert is_whole(made)


def test_average_is_a_convolution_of_every_channel():
    made = integers(before_and_after("AveragePool", kernel_shape=(2, 2), strides=(2, 2)))
    assert "AVERAGE_POOL_2D" not in made.file.ops
    assert made.file.ops.count("DEPTHWISE_CONV_2D") == 1


def test_average_in_three_dimensions():
    made = integers(before_and_after("AveragePool", 4, 8, 8, kernel_shape=(2, 2, 2), strides=(2, 2, 2)))
    check(made, alike=28, near=28)  # the mean over height and width is rounded before that over time
    assert is_whole(made)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("axes", [1, 2])
def test_larger_of_two_is_a_pool_over_both(axes, layout):
    net = Net(1, 4, *(8, 6)[:axes])
    taps = (1,) * axes
    a, b = (net.conv("x", 8, 4, *taps, bias=True, name=name) for name in "ab")
    net.conv(net.add("Max", a, b, name="c"), 4, 8, *taps, name="y")
    made = integers(net, layout=layout)
    check(made)
    assert is_whole(made)
    assert "MAXIMUM" not in made.file.ops
    assert made.file.ops.count("MAX_POOL_2D") == 1


def test_larger_of_tensors_of_other_shapes_is_an_island():
    net = Net(1, 4, 6, 6)
    a = net.conv("x", 8, 4, 1, 1, bias=True)
    b = net.conv(net.add("GlobalAveragePool", "x"), 8, 4, 1, 1, bias=True)
    net.conv(net.add("Max", a, b, name="c"), 4, 8, 1, 1, name="y")
    made = integers(net)
    check(made)
    assert "MAXIMUM" in made.file.ops


def test_windows_over_time_that_overlap():
    made = integers(before_and_after("MaxPool", 5, 8, 8, kernel_shape=(3, 2, 2), strides=(2, 2, 2)))
    check(made)
    assert is_whole(made)
    assert "MAXIMUM" not in made.file.ops


@pytest.mark.parametrize("most", [6.0, 1.5])
def test_clip_is_where_the_grid_ends(most):
    net = Net(1, 4, 8, 8)
    a = net.conv("x", 8, 4, 3, 3, bias=True)
    b = net.add("Clip", a, net.weight(array=0.0), net.weight(array=most), name="b")
    net.conv(b, 4, 8, 1, 1, name="y")
    made = integers(net)
    check(made)
    assert is_whole(made)
    assert "MINIMUM" not in made.file.ops


def test_relu_that_nothing_takes_in_is_a_change_of_grid():
    net = Net(1, 4, 8, 8)
    a = net.add("Concat", net.conv("x", 8, 4, 1, 1, bias=True), "x", axis=1)
    net.conv(net.add("Relu", a, name="b"), 4, 12, 1, 1, name="y")
    made = integers(net)
    check(made)
    assert is_whole(made)
    assert made.file.ops.count("QUANTIZE") == 2


def test_relu_whose_grid_goes_below_zero_is_taken_in_by_a_product():
    net = Net(1, 4, 8, 8)
    a = net.add("Concat", net.conv("x", 8, 4, 1, 1, bias=True), "x", axis=1)
    b = net.add("Relu", a, name="b")
    net.conv(net.add("Concat", a, b, axis=1), 4, 24, 1, 1, name="y")
    made = integers(net)
    check(made)
    assert is_whole(made)
    assert made.file.ops.count("MUL") == 1


def test_constants_have_grids_of_their_own():
    net = Net(1, 4, 8, 8)
    a = net.add("Relu", net.conv("x", 4, 4, 3, 3, pads=1, bias=True))
    b = net.add("Add", a, net.weight(4, 8, 8), name="b")
    c = net.add("Mul", b, net.weight(1, 4, 8, 8), name="c")
    d = net.add("Concat", c, net.weight(1, 2, 8, 8), axis=1, name="d")
    net.conv(d, 4, 6, 1, 1, name="y")
    made = integers(net)
    check(made, near=29)  # products of normal numbers have long tails, and their ranges room for those
    assert is_whole(made)
    assert {"ADD", "MUL", "CONCATENATION"} <= set(made.file.ops)


def test_swish_and_matrix_products():
    net = Net(4, 16)
    a = net.add("MatMul", "x", net.weight(16, 32), name="a")
    b = net.add("Mul", a, net.add("Sigmoid", a), name="b")
    net.add("MatMul", b, net.weight(32, 6), name="y")
    made = integers(net)
    check(made)
    assert is_whole(made)
    assert made.file.ops.count("FULLY_CONNECTED") == 2


def test_operator_without_an_integer_form_is_an_island():
    made = integers(before_and_after("HardSwish"))
    check(made)
    assert any("no integer form of them: HARD_SWISH 'b'" in note for note in made.file.notes)
    at = made.file.ops.index("HARD_SWISH")
    assert made.file.ops[at - 1] == "DEQUANTIZE"


def test_average_that_skips_its_padding_is_an_island():
    attributes = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
    made = integers(before_and_after("AveragePool", **attributes))
    check(made)
    assert "AVERAGE_POOL_2D" in made.file.ops
    assert made.file.ops.count("QUANTIZE") == made.file.ops.count("DEQUANTIZE") == 2


def test_taps_that_are_added_up_are_an_island():
    net = Net(1, 4, 4, 6, 6)
    a = net.conv("x", 8, 4, 1, 1, 1, bias=True)
    b = net.conv(a, 8, 8, 3, 3, 3, groups=8, pads=1, bias=True, name="b")
    net.conv(b, 4, 8, 1, 1, 1, name="y")
    made = integers(net)
    check(made)
    assert any("nothing is known of the range" in note and "DEPTHWISE" in note for note in made.file.notes)


def test_product_that_is_kept_in_float32():
    net = residual()
    name = next(node.name for node in net.nodes if node.op_type == "Conv" and node.output[0] == "b")
    made = integers(net, keep=(name,))
    check(made)
    (note,) = (note for note in made.file.notes if "their weights are not on a grid" in note)
    assert "DEPTHWISE_CONV_2D 'b'" in note
    assert made.file.ops.count("DEPTHWISE_CONV_2D") == 1


def test_channel_of_zeros():
    net = Net(1, 4, 6, 6)
    weight = np.random.default_rng(0).standard_normal((8, 4, 3, 3))
    weight[2:4] = 0
    a = net.conv("x", 8, 4, 3, 3, pads=1, weight=net.weight(array=weight), name="a")
    net.conv(net.add("Relu", a), 4, 8, 1, 1, name="y")
    made = integers(net)
    check(made)
    assert is_whole(made)


def test_graph_without_grids_stays_float(tmp_path):
    made = lower(residual().model(), tmp_path, "int8")
    assert any("their weights are not on a grid" in note for note in made.notes)
