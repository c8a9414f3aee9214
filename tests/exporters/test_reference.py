import time
import tracemalloc

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, version_converter
from support import light_models

from tdedge.errors import UsageError
from tdedge_exporters.reference import Evaluator, evaluate

functional = torch.nn.functional
RNG = np.random.default_rng(7)


def model(nodes, inputs, weights=(), outputs=("y",), opset=18, types=None):
    types = types or {}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(k, types.get(k, TensorProto.FLOAT), s) for k, s in inputs.items()],
        [helper.make_tensor_value_info(k, types.get(k, TensorProto.FLOAT), None) for k in outputs],
        [numpy_helper.from_array(v, k) for k, v in dict(weights).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def single(op, x, *weights, outputs=("y",), **attributes):
    """Output of one operator on ``x`` and weights, in float64."""
    named = {f"w{i}": w for i, w in enumerate(weights)}
    node = helper.make_node(op, ["x", *named], list(outputs), **attributes)
    return evaluate(model([node], {"x": x.shape}, named, outputs), {"x": x})[outputs[0]]


def ort(proto, feed):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feed), strict=True))


def wide(array):
    return torch.from_numpy(array).double()


def assert_equal(got, expected, tolerance=1e-12):
    expected = np.asarray(expected)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


@given(
    axes=st.integers(1, 3),
    batch=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 4]),
    kernel=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    stride=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    dilation=st.lists(st.integers(1, 2), min_size=3, max_size=3),
    pads=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    biased=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_conv_equals_torch(axes, batch, groups, kernel, stride, dilation, pads, biased):
    kernel, stride, dilation = kernel[:axes], stride[:axes], dilation[:axes]
    begin, end = pads[:axes], pads[3 : 3 + axes]
    x, w = normal(batch, 4, *(9, 8, 7)[:axes]), normal(8, 4 // groups, *kernel)
    arguments = [w, *([normal(8)] if biased else [])]
    attributes = {"strides": stride, "dilations": dilation, "pads": begin + end, "group": groups}
    got = single("Conv", x, *arguments, **attributes)
    padded = functional.pad(wide(x), [p for pair in zip(begin[::-1], end[::-1], strict=True) for p in pair])
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    bias = wide(arguments[1]) if biased else None
    assert got.dtype == np.float64
    assert_equal(got, conv(padded, wide(w), bias, stride=stride, dilation=dilation, groups=groups))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_auto_pad_equals_onnx_runtime(op, auto_pad, stride):
    x, w = normal(1, 2, 10, 7), normal(3, 2, 4, 3)
    inputs, weights = (["x", "w"], {"w": w}) if op == "Conv" else (["x"], {})
    node = helper.make_node(op, inputs, ["y"], auto_pad=auto_pad, strides=[stride] * 2, kernel_shape=[4, 3])
    proto = model([node], {"x": x.shape}, weights)
    assert_equal(evaluate(proto, {"x": x})["y"], ort(proto, {"x": x})["y"], 1e-5)


@given(
    axes=st.integers(1, 3),
    size=st.integers(5, 12),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    dilation=st.integers(1, 2),
    ceil=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_max_pool_equals_torch(axes, size, kernel, stride, pad, dilation, ceil):
    pad = min(pad, kernel // 2)
    if size + 2 * pad < dilation * (kernel - 1) + 1:
        return
    x = normal(2, 3, *[size, size + 1, size][:axes]) - 5
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[axes - 1]
    expected = pool(wide(x), kernel, stride, pad, dilation, ceil_mode=ceil)
    got = single(
        "MaxPool",
        x,
        kernel_shape=[kernel] * axes,
        strides=[stride] * axes,
        pads=[pad] * 2 * axes,
        dilations=[dilation] * axes,
        ceil_mode=int(ceil),
    )
    assert_equal(got, expected)


@given(
    axes=st.integers(1, 3),
    size=st.integers(5, 12),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    ceil=st.booleans(),
    count=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_average_pool_equals_torch(axes, size, kernel, stride, pad, ceil, count):
    pad = min(pad, kernel // 2)
    x = normal(2, 3, *[size, size + 1, size][:axes])
    pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[axes - 1]
    expected = pool(wide(x), kernel, stride, pad, ceil_mode=ceil, count_include_pad=count)
    got = single(
        "AveragePool",
        x,
        kernel_shape=[kernel] * axes,
        strides=[stride] * axes,
        pads=[pad] * 2 * axes,
        ceil_mode=int(ceil),
        count_include_pad=int(count),
    )
    assert_equal(got, expected)


@given(
    axes=st.integers(1, 3),
    groups=st.sampled_from([1, 2]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pad=st.integers(0, 1),
    extra=st.integers(0, 2),
    biased=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_conv_transpose_equals_torch(axes, groups, kernel, stride, dilation, pad, extra, biased):
    extra = min(extra, max(stride, dilation) - 1)
    x, w = normal(2, 4, *(5, 4, 6)[:axes]), normal(4, 3, *[kernel] * axes)
    weights = [w, *([normal(3 * groups)] if biased else [])]
    conv = (
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
    )[axes - 1]
    bias = wide(weights[1]) if biased else None
    expected = conv(wide(x), wide(w), bias, stride, pad, extra, groups, dilation)
    got = single(
        "ConvTranspose",
        x,
        *weights,
        group=groups,
        strides=[stride] * axes,
        pads=[pad] * 2 * axes,
        dilations=[dilation] * axes,
        output_padding=[extra] * axes,
    )
    assert_equal(got, expected)


@pytest.mark.parametrize(
    "attributes",
    [
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"output_shape": [10, 11]},
        {"output_shape": [10, 11], "auto_pad": "SAME_UPPER"},
    ],
)
def test_conv_transpose_padding_equals_onnx_runtime(attributes):
    x, w = normal(1, 4, 5, 6), normal(4, 3, 4, 3)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], **attributes)
    proto = model([node], {"x": x.shape}, {"w": w})
    assert_equal(evaluate(proto, {"x": x})["y"], ort(proto, {"x": x})["y"], 1e-5)


def test_mean_variance_normalization_equals_onnx_runtime():
    x = normal(2, 3, 4, 5) * 3 + 1
    proto = model([helper.make_node("MeanVarianceNormalization", ["x"], ["y"])], {"x": x.shape})
    assert_equal(evaluate(proto, {"x": x})["y"], ort(proto, {"x": x})["y"], 1e-5)


@pytest.mark.parametrize("size", [2, 4])
def test_lrn_of_an_even_size_reaches_one_channel_further_up(size):
    x = normal(2, 7, 3, 3)
    square = x.astype(np.float64) ** 2
    below, above = (size - 1) // 2, size // 2
    sums = np.stack([square[:, max(0, c - below) : c + above + 1].sum(axis=1) for c in range(7)], axis=1)
    got = single("LRN", x, size=size, alpha=0.5, beta=0.5, bias=1.5)
    assert_equal(got, x / np.sqrt(1.5 + 0.5 / size * sums))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_lrn_equals_onnx_runtime(size):
    x = normal(2, 7, 3, 3)
    node = helper.make_node("LRN", ["x"], ["y"], size=size, alpha=0.5, beta=0.6, bias=1.5)
    proto = model([node], {"x": x.shape})
    assert_equal(evaluate(proto, {"x": x})["y"], ort(proto, {"x": x})["y"], 1e-6)


def test_max_pool_with_indices_and_integers():
    x = normal(1, 2, 6, 6)
    node = helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2], strides=[2, 2])
    proto = model([node], {"x": x.shape}, outputs=("y", "i"), types={"i": TensorProto.INT64})
    got, expected = evaluate(proto, {"x": x}), ort(proto, {"x": x})
    assert np.array_equal(got["i"], expected["i"])
    byte = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    both = {"x": TensorProto.UINT8, "y": TensorProto.UINT8}
    proto = model([node], {"x": byte.shape}, types=both)
    got = evaluate(proto, {"x": byte})["y"]
    assert got.dtype == np.uint8
    assert np.array_equal(got, ort(proto, {"x": byte})["y"])


def test_other_operators_equal_torch_in_float64():
    x = normal(2, 4, 5, 5)
    s, b, m, v = normal(4), normal(4), normal(4), np.abs(normal(4)) + 0.1
    expected = functional.batch_norm(wide(x), wide(m), wide(v), wide(s), wide(b), eps=float(np.float32(1e-3)))
    assert_equal(single("BatchNormalization", x, s, b, m, v, epsilon=1e-3), expected)
    assert_equal(single("GlobalAveragePool", x), wide(x).mean((2, 3), keepdim=True))
    flat, w, c = normal(3, 8), normal(8, 5), normal(5)
    assert_equal(single("Gemm", flat, w, c), wide(flat) @ wide(w) + wide(c))
    assert_equal(single("Softmax", flat, axis=1), torch.softmax(wide(flat), 1))


def test_nothing_is_rounded_to_float32():
    """Constants, casts and filled tensors are widened, in subgraphs too."""
    third = helper.make_node("Constant", [], ["third"], value_float=1 / 3)
    tensor = numpy_helper.from_array(np.array(0.1, np.float32))
    tenth = helper.make_node("Constant", [], ["tenth"], value=tensor)
    nodes = [
        third,
        tenth,
        helper.make_node("Div", ["x", "third"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["c"], ["d"], to=TensorProto.FLOAT),
        helper.make_node("ConstantOfShape", ["shape"], ["zero"]),
        helper.make_node("Add", ["zero", "tenth"], ["e"]),
        helper.make_node("Add", ["d", "e"], ["y"]),
    ]
    proto = model(nodes, {"x": (3,)}, {"shape": np.array([3], np.int64)})
    x = normal(3)
    got = evaluate(proto, {"x": x})["y"]
    expected = x.astype(np.float64) / np.float64(np.float32(1 / 3)) + np.float64(np.float32(0.1))
    assert_equal(got, expected, 1e-15)
    rounded = evaluate(proto, {"x": x}, dtype=np.float32)["y"]
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - expected).max() < 1e-2


def test_subgraphs_are_widened():
    inner_then = helper.make_graph(
        [
            helper.make_node("Constant", [], ["k"], value_float=0.1),
            helper.make_node("Mul", ["x", "k"], ["t"]),
        ],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, [2])],
    )
    inner_else = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["e"])],
        "else",
        [],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, [2])],
    )
    node = helper.make_node("If", ["flag"], ["y"], then_branch=inner_then, else_branch=inner_else)
    proto = model([node], {"x": (2,)}, {"flag": np.array(True)})
    x = normal(2)
    assert_equal(evaluate(proto, {"x": x})["y"], x.astype(np.float64) * np.float64(np.float32(0.1)), 1e-15)


def test_half_precision_weights_are_widened_exactly():
    x, w = normal(2, 3).astype(np.float16), normal(3, 4).astype(np.float16)
    both = {"x": TensorProto.FLOAT16, "y": TensorProto.FLOAT16}
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (2, 3)}, {"w": w}, types=both)
    assert_equal(evaluate(proto, {"x": x})["y"], x.astype(np.float64) @ w.astype(np.float64), 1e-15)


def chain_model():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["y"]),
    ]
    return ir.from_proto(model(nodes, {"x": (1, 2, 6, 6)}, {"w": normal(3, 2, 3, 3)}))


def test_intermediates_are_every_tensor_but_the_weights():
    values = evaluate(chain_model(), {"x": normal(1, 2, 6, 6)}, intermediates=True)
    assert set(values) == {"x", "c", "r", "y"}
    assert np.array_equal(values["r"], np.maximum(values["c"], 0))


def test_model_is_not_changed_and_the_evaluator_is_reusable():
    network = chain_model()
    before = ir.to_proto(network).SerializeToString()
    evaluator = Evaluator(network)
    x, z = normal(1, 2, 6, 6), normal(1, 2, 6, 6)
    first, other, again = (evaluator.run({"x": value})["y"] for value in (x, z, x))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert ir.to_proto(network).SerializeToString() == before


def test_wrong_inputs_are_refused():
    with pytest.raises(UsageError, match=r"\['z'\] given; the network takes \['x'\]"):
        evaluate(chain_model(), {"z": normal(1)})
    with pytest.raises(UsageError, match="cannot be evaluated"):
        evaluate(chain_model(), {"x": normal(1, 5, 6, 6)})


@pytest.mark.parametrize("name", ["bvlc_alexnet", "densenet121", "inception_v1", "resnet50", "shufflenet"])
def test_light_network_equals_onnx_runtime(name):
    """Every intermediate tensor, with random weights."""
    proto = version_converter.convert_version(light_models.randomised(name), 18)
    weights = {value.name for value in proto.graph.initializer}
    (given,) = (value for value in proto.graph.input if value.name not in weights)
    x = normal(*(dim.dim_value for dim in given.type.tensor_type.shape.dim))
    start = time.perf_counter()
    values = evaluate(proto, {given.name: x}, intermediates=True)
    assert time.perf_counter() - start < 30
    kept = [n for n in proto.graph.node if n.op_type in ("Conv", "MaxPool", "AveragePool", "LRN", "Gemm")]
    names = [node.output[0] for node in kept] + [value.name for value in proto.graph.output]
    shown = {value.name for value in proto.graph.output}
    proto.graph.output.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n not in shown
    )
    expected = ort(proto, {given.name: x})
    for tensor in names:
        scale = np.abs(values[tensor]).max()
        assert np.abs(values[tensor] - expected[tensor]).max() <= 1e-4 * scale, tensor


def test_large_3d_convolution_is_fast_and_small():
    """4 -> 6 channels, 5 x 11 x 11 taps over 28 x 120 x 160: unfolded at once it would take 10 GB."""
    x, w = normal(1, 4, 28, 120, 160), normal(6, 4, 5, 11, 11)
    tracemalloc.start()
    start = time.perf_counter()
    got = single("Conv", x, w, pads=[2, 5, 5, 2, 5, 5])
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 20
    assert peak < 300 << 20
    for t, i, j in ((0, 0, 0), (14, 60, 80), (27, 119, 159), (3, 118, 2)):
        padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (2, 2), (5, 5), (5, 5)])
        patch = padded[0, :, t : t + 5, i : i + 11, j : j + 11]
        assert_equal(got[0, :, t, i, j], np.einsum("mcijk,cijk->m", w.astype(np.float64), patch), 1e-11)
