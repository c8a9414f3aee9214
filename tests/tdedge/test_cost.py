import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, shape_inference

from tdedge.cost import network_cost
from tdedge.errors import UsageError
from tdedge.factor import Factor


def model(nodes, inputs, weights, outputs=("y",), infer=True):
    """A graph of float32 ``inputs`` (name -> shape) and ``weights`` (name -> array), shapes inferred."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in outputs],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return ir.from_proto(shape_inference.infer_shapes(proto, strict_mode=True) if infer else proto)


def ones(*shape):
    return np.ones(shape, np.float32)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"n_{outputs}", **attributes)


@given(
    axes=st.integers(1, 3),
    groups=st.integers(1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    pad=st.integers(0, 2),
    biased=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_convolution_is_counted_like_a_factor(axes, groups, stride, dilation, pad, biased):
    kernel = ones(2 * groups, 3, *range(1, axes + 1))
    bias = ones(2 * groups) if biased else None
    factor = Factor(
        kernel, (stride,) * axes, ((pad, pad),) * axes, (dilation,) * axes, groups=groups, bias=bias
    )
    shape = (2, 3 * groups, *range(7, 7 + axes))
    weights = {"w": kernel} | ({"b": bias} if biased else {})
    conv = node(
        "Conv",
        "x w b" if biased else "x w",
        "y",
        group=groups,
        strides=[stride] * axes,
        dilations=[dilation] * axes,
        pads=[pad] * 2 * axes,
    )
    cost = network_cost(model([conv], {"x": shape}, weights))
    assert cost.macs == factor.macs(shape)
    assert cost.flops == factor.flops(shape)
    assert cost.params == factor.params
    assert cost.weight_bytes == 4 * factor.params
    assert cost.layers[0].output_shape == factor.output_shape(shape)


def thetis():
    """The published dense network: two convolutions, pools, a convolution over all, two Linear layers."""
    nodes = [
        node("Conv", "x w1 b1", "c1", pads=[2, 5, 5, 2, 5, 5]),
        node("Relu", "c1", "r1"),
        node("MaxPool", "r1", "p1", kernel_shape=[2, 4, 4], strides=[2, 4, 4]),
        node("Conv", "p1 w2 b2", "c2"),
        node("MaxPool", "c2", "p2", kernel_shape=[2, 4, 4], strides=[2, 4, 4]),
        node("Conv", "p2 w3 b3", "c3"),
        node("Flatten", "c3", "f"),
        node("MatMul", "f w4", "m4"),
        node("Add", "m4 b4", "l4"),
        node("Gemm", "l4 w5 b5", "y", transB=1),
    ]
    weights = {
        "w1": ones(6, 4, 5, 11, 11),
        "w2": ones(16, 6, 3, 5, 5),
        "w3": ones(128, 16, 6, 6, 9),
        "w4": ones(128, 84),
        "w5": ones(2, 84),
        **{f"b{i}": ones(n) for i, n in ((1, 6), (2, 16), (3, 128), (4, 84), (5, 2))},
    }
    return model(nodes, {"x": (1, 4, 28, 120, 160)}, weights)


def test_thetis_matches_the_published_figures():
    cost = network_cost(thetis())
    assert (cost.params, cost.macs, cost.flops) == (696_428, 7_887_496_872, 15_774_993_744)
    assert [layer.flops for layer in cost.layers] == [15_611_904_000, 161_740_800, 1_327_104, 21_504, 336]
    assert [layer.params for layer in cost.layers] == [14_526, 7_216, 663_680, 10_836, 170]


def test_thetis_peak_is_the_first_relu():
    assert network_cost(thetis()).peak_activation_bytes == 2 * 4 * 6 * 28 * 120 * 160


def test_totals_are_the_sums_of_the_layers_and_json_is_plain():
    cost = network_cost(thetis())
    for key in ("macs", "flops", "params"):
        assert getattr(cost, key) == sum(getattr(layer, key) for layer in cost.layers)
    document = cost.to_json()
    assert document["layers"][0]["name"] == "n_c1"
    assert {k: v for k, v in document.items() if k != "layers"} == cost.totals()


def test_shared_weight_counts_once_and_runs_twice():
    nodes = [node("MatMul", "x w", "a"), node("MatMul", "a w", "y")]
    cost = network_cost(model(nodes, {"x": (3, 4)}, {"w": ones(4, 4)}))
    assert cost.params == 16
    assert cost.macs == 2 * 3 * 4 * 4


def test_unused_weights_and_integers_are_no_parameters():
    weights = {"w": ones(4, 4), "unused": ones(9), "shape": np.array([12], np.int64)}
    nodes = [node("MatMul", "x w", "a"), node("Reshape", "a shape", "y")]
    assert network_cost(model(nodes, {"x": (3, 4)}, weights)).params == 16


@pytest.mark.parametrize(
    ("shape", "extra"), [((5,), 15), ((1, 5), 15), ((3, 1), 0), ((3, 5), 0), ((), 0)], ids=str
)
def test_only_one_constant_per_feature_is_a_bias(shape, extra):
    nodes = [node("MatMul", "x w", "a"), node("Add", "b a", "y")]
    cost = network_cost(model(nodes, {"x": (3, 4)}, {"w": ones(4, 5), "b": ones(*shape)}))
    assert cost.flops == 15 * (2 * 4 - 1) + extra
    assert cost.params == 20 + int(np.prod(shape))


def test_bias_added_after_a_convolution_is_per_channel():
    nodes = [node("Conv", "x w", "a"), node("Add", "a b", "y")]
    cost = network_cost(model(nodes, {"x": (1, 2, 5, 5)}, {"w": ones(3, 2, 1, 1), "b": ones(3, 1, 1)}))
    assert cost.flops == 75 * (2 * 2 - 1) + 75


def test_adding_two_activations_is_free():
    nodes = [node("MatMul", "x w", "a"), node("MatMul", "x v", "b"), node("Add", "a b", "y")]
    cost = network_cost(model(nodes, {"x": (3, 4)}, {"w": ones(4, 5), "v": ones(4, 5)}))
    assert cost.flops == 2 * 15 * 7


def test_batch_norm_holds_parameters_and_computes_nothing():
    bn = node("BatchNormalization", "x s b m v", "y")
    cost = network_cost(model([bn], {"x": (1, 3, 2, 2)}, {k: ones(3) for k in "sbmv"}))
    assert (cost.params, cost.macs, cost.flops, len(cost.layers)) == (12, 0, 0, 1)


def test_transposed_convolution_multiplies_every_input():
    layer = node("ConvTranspose", "x w", "y", strides=[2, 2])
    cost = network_cost(model([layer], {"x": (1, 3, 4, 4)}, {"w": ones(3, 5, 2, 2)}))
    assert cost.macs == 3 * 16 * 5 * 4


def test_gemm_with_a_transposed_input():
    cost = network_cost(model([node("Gemm", "x w", "y", transA=1)], {"x": (4, 3)}, {"w": ones(4, 5)}))
    assert cost.macs == 3 * 5 * 4


@pytest.mark.parametrize("equation", ["bk,ko->bo", "...k,ko->...o"])
def test_einsum_counts_every_index(equation):
    layer = node("Einsum", "x w", "y", equation=equation)
    assert network_cost(model([layer], {"x": (3, 4)}, {"w": ones(4, 5)})).macs == 3 * 4 * 5


def test_weights_filled_with_a_constant_are_parameters_not_activations():
    fill = helper.make_node("ConstantOfShape", ["shape"], ["w"])
    nodes = [fill, node("MatMul", "x w", "y")]
    cost = network_cost(model(nodes, {"x": (1, 100)}, {"shape": np.array([100, 100], np.int64)}))
    assert cost.params == 10_000
    assert cost.peak_activation_bytes == 4 * 200


def test_peak_keeps_a_skip_connection_alive():
    nodes = [node("Relu", "x", "a"), node("Relu", "a", "b"), node("Add", "a b", "y")]
    straight = [node("Relu", "x", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")]
    assert network_cost(model(nodes, {"x": (1, 8)}, {})).peak_activation_bytes == 3 * 32
    assert network_cost(model(straight, {"x": (1, 8)}, {})).peak_activation_bytes == 2 * 32


def test_peak_keeps_outputs_to_the_end_and_drops_what_nobody_reads():
    nodes = [
        node("Relu", "x", "y"),
        node("Relu", "y", "a"),
        node("Relu", "a", "z"),
        node("Relu", "a", "dead"),
    ]
    cost = network_cost(model(nodes, {"x": (1, 8)}, {}, outputs=("y", "z")))
    assert cost.peak_activation_bytes == 3 * 32


def test_unknown_shape_is_refused_with_its_name():
    graph = model([node("Relu", "x", "a"), node("Relu", "a", "y")], {"x": (1, 8)}, {}, infer=False)
    with pytest.raises(UsageError, match=r"'a' has no static shape.*--input-shape"):
        network_cost(graph)


def test_dynamic_shape_is_refused():
    with pytest.raises(UsageError, match="'x' has no static shape"):
        network_cost(model([node("Relu", "x", "y")], {"x": ("batch", 8)}, {}))
