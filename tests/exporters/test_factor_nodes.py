import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from support.graphs import Net, assert_rewrites, ops, run

from tdedge.chain import Chain
from tdedge.compose import NotExactError
from tdedge_exporters.chains import find_chains, find_layers, write_chain
from tdedge_exporters.factor_nodes import read


def write_back(model):
    """Replace every factor by itself."""
    for site in find_layers(model).values():
        write_chain(model, site, site.chain)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"), [(9, 3, 1, 1), (10, 4, 2, 1), (11, 3, 3, 1), (7, 2, 4, 1)]
)
def test_auto_pad(auto_pad, size, kernel, stride, dilation):
    net = Net(1, 3, size, size + 1)
    net.conv("x", 4, 3, kernel, kernel, strides=[stride] * 2, dilations=[dilation] * 2, auto_pad=auto_pad)
    model = assert_rewrites(net, write_back)
    assert "auto_pad" not in model.graph[0].attributes


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conv_geometry(axes, dtype):
    net = Net(2, 4, *range(9, 9 + axes), dtype=dtype)
    net.conv(
        "x",
        6,
        4,
        *(3,) * axes,
        bias=True,
        groups=2,
        pads=[*range(axes), *range(1, axes + 1)],
        strides=list(range(1, axes + 1)),
        dilations=[2] * axes,
    )
    model = assert_rewrites(net, write_back, tolerance=1e-6)
    (part,) = find_chains(model)[0].parts
    assert part.factor.pads == tuple((axis, axis + 1) for axis in range(axes))
    assert part.factor.stride == tuple(range(1, axes + 1))
    assert part.factor.kernel.dtype == dtype
    assert all(
        value.dtype is not None and value.shape is not None for value in model.graph.initializers.values()
    )


def test_float16_weights_stay_float16():
    net = Net(1, 4, 6, dtype=np.float16)
    net.conv("x", 3, 4, 3, bias=True)
    model = net.model()
    write_back(model)
    assert {str(value.dtype) for value in model.graph.initializers.values()} == {"FLOAT16"}


@pytest.mark.parametrize("bias", [(), (1,), (5,), (1, 5)])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(bias, transposed):
    net = Net(3, 4)
    inputs = ["x", net.weight(5, 4) if transposed else net.weight(4, 5)]
    if bias:
        inputs.append(net.weight(*bias))
    net.add("Gemm", *inputs, transB=transposed, alpha=0.5, beta=2.0)
    model = assert_rewrites(net, write_back)
    assert ops(model) == {"Gemm": 1}


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 3, 5, 4)])
@pytest.mark.parametrize("swap", [False, True])
def test_matmul_with_bias(shape, swap):
    net = Net(*shape)
    product = net.add("MatMul", "x", net.weight(4, 5))
    operands = [product, net.weight(5)]
    net.add("Add", *(reversed(operands) if swap else operands))
    model = assert_rewrites(net, write_back)
    assert ops(model) == ({"Gemm": 1} if len(shape) == 2 else {"MatMul": 1, "Add": 1})
    (part,) = find_chains(model)[0].parts
    assert part.factor.bias is not None
    assert part.input_shape == shape


def test_matmul_keeps_an_add_that_is_no_bias():
    net = Net(2, 3, 4)
    product = net.add("MatMul", "x", net.weight(4, 5))
    net.add("Add", product, net.weight(3, 5))
    model = assert_rewrites(net, write_back)
    assert find_chains(model)[0].parts[0].factor.bias is None


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Tanh", "Clip"])
def test_inner_activations_are_written_back(activation):
    net = Net(1, 4, 6, 6)
    first = net.conv("x", 3, 4, 1, 1)
    bounds = (
        [net.weight(array=np.float32(0)), net.weight(array=np.float32(6))] if activation == "Clip" else []
    )
    second = net.add(activation, first, *bounds)
    net.conv(second, 2, 3, 1, 1)

    def rewrite(model):
        (site,) = find_chains(model)
        assert site.chain.factors[0].activation == {"Clip": "relu6"}.get(activation, activation.lower())
        write_chain(model, site, site.chain)

    assert ops(assert_rewrites(net, rewrite)) == {"Conv": 2, activation: 1}


def test_another_clip_is_no_activation():
    net = Net(1, 4, 6)
    first = net.conv("x", 3, 4, 1)
    second = net.add("Clip", first, net.weight(array=np.float32(-1)), net.weight(array=np.float32(1)))
    net.conv(second, 2, 3, 1)
    assert [len(site.chain) for site in find_chains(net.model())] == [1, 1]


def refusal(net):
    (node,) = (node for node in net.model().graph if node.op_type in ("Conv", "Gemm", "MatMul"))
    with pytest.raises(NotExactError) as caught:
        read(node)
    return caught.value.message


def test_negative_pads_are_refused():
    net = Net(1, 4, 9)
    net.conv("x", 3, 4, 3)
    (node,) = net.model().graph
    node.attributes["pads"] = ir.AttrInt64s("pads", [-1, 0])
    with pytest.raises(NotExactError, match=r"negative pads \(\(-1, 0\),\) crop the input"):
        read(node)


def test_computed_weights_are_refused():
    net = Net(1, 4, 9)
    net.conv("x", 3, 4, 3, weight=net.add("Relu", net.weight(3, 4, 3)))
    assert "weight 'relu0' is not a constant" in refusal(net)


def test_unknown_sizes_are_refused():
    net = Net(1, 4, "width")
    net.conv("x", 3, 4, 3)
    assert "no static shape apart from its batch" in refusal(net)


def test_a_transposed_gemm_input_is_refused():
    net = Net(4, 3)
    net.add("Gemm", "x", net.weight(4, 5), transA=1)
    assert "transposes its input" in refusal(net)


def test_a_batched_matmul_is_refused():
    net = Net(2, 3, 4)
    net.add("MatMul", "x", net.weight(2, 4, 5))
    assert "is no Linear layer" in refusal(net)


def test_four_spatial_axes_are_refused():
    net = Net(1, 2, 3, 3, 3, 3)
    net.nodes.append(helper.make_node("Conv", ["x", net.weight(2, 2, 1, 1, 1, 1)], ["y"], name="n_y"))
    model = net.model("y")
    with pytest.raises(NotExactError, match="0 to 3 spatial axes"):
        read(model.graph[0])


def test_symbolic_batch_stays_symbolic():
    net = Net("batch", 4, 9)
    net.conv("x", 3, 4, 3)
    model = net.model()
    (site,) = find_chains(model)
    write_chain(model, site, Chain((*site.chain.factors,)))
    assert [str(size) for size in model.graph.outputs[0].shape] == ["batch", "3", "7"]
    assert run(model, np.zeros((5, 4, 9), np.float32))[0].shape == (5, 3, 7)
