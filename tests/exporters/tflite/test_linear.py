"""Matrix products with every flag and broadcasting, against ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import Net
from support.lowering_tflite import assert_lowers, refusal


@st.composite
def gemms(draw):
    """``Gemm`` with flags, factors and an addend of any shape; operands constant or computed."""
    m, k, n = (draw(st.integers(1, 5)) for _ in range(3))
    flip = draw(st.booleans()), draw(st.booleans())
    left = (k, m) if flip[0] else (m, k)
    right = (n, k) if flip[1] else (k, n)
    kinds = draw(st.sampled_from(["xw", "xw", "wx", "xx"]))
    net = Net(*(right if kinds == "wx" else left), seed=draw(st.integers(0, 99)))
    operands = {
        "xw": lambda: ("x", net.weight(*right)),
        "wx": lambda: (net.weight(*left), "x"),
        "xx": lambda: (
            "x",
            net.add(
                "MatMul", net.weight(right[0], left[0]), net.add("MatMul", "x", net.weight(left[1], right[1]))
            ),
        ),
    }[kinds]()
    inputs = list(operands)
    shape = draw(st.sampled_from([None, (), (1,), (n,), (1, n), (m, 1), (m, n), (1, 1)]))
    if shape is not None:
        inputs.append(net.weight(*shape))
        if draw(st.booleans()):
            total = net.add("ReduceSum", "x", keepdims=0)
            inputs[-1] = net.add("Mul", inputs[-1], total)
    alpha, beta = (draw(st.sampled_from([1.0, 1.0, 0.5, -2.0])) for _ in range(2))
    net.add("Gemm", *inputs, alpha=alpha, beta=beta, transA=int(flip[0]), transB=int(flip[1]))
    return net


@settings(max_examples=120, deadline=None, derandomize=True)
@given(gemms())
def test_gemm(net):
    assert_lowers(net)


@st.composite
def matmuls(draw):
    """Operands of rank 1 to 4 whose stacks broadcast; one or both computed."""
    m, k, n = (draw(st.integers(1, 4)) for _ in range(3))
    stack = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 2)))]
    left = (*(1 if draw(st.booleans()) else size for size in stack), m, k)
    right = (*(1 if draw(st.booleans()) else size for size in stack), k, n)
    left, right = left[draw(st.integers(0, len(stack))) :], right[draw(st.integers(0, len(stack))) :]
    left = (k,) if draw(st.integers(0, 5)) == 0 else left
    right = (k,) if draw(st.integers(0, 5)) == 0 and len(left) > 1 else right
    kinds = draw(st.sampled_from(["xw", "wx", "xx"]))
    net = Net(*(right if kinds == "wx" else left), seed=draw(st.integers(0, 99)))
    if kinds == "xw":
        net.add("MatMul", "x", net.weight(*right))
    elif kinds == "wx":
        net.add("MatMul", net.weight(*left), "x")
    else:
        net.add("MatMul", "x", net.add("Mul", net.weight(*right), net.add("ReduceSum", "x", keepdims=0)))
    return net


@settings(max_examples=150, deadline=None, derandomize=True)
@given(matmuls())
def test_matmul(net):
    made = assert_lowers(net, partitions=None)
    scalar = made.interpreter.get_output_details()[0]["shape"].size == 0
    assert made.plan == (["RESHAPE", "DELEGATE"] if scalar else ["DELEGATE"])


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 2, 4, 5), (2, 3, 7)])
def test_the_order_of_a_flattened_image_is_folded_into_weights(operator, shape):
    net = Net(*shape)
    name = net.add("Flatten", net.add("Relu", net.conv("x", 6, 3, *[1] * (len(shape) - 2))))
    net.add(operator, name, net.weight(6 * int(np.prod(shape[2:])), 10))
    assert assert_lowers(net, "nhwc").ops.count("TRANSPOSE") == 0


def test_linear_over_the_channels_of_a_convolution():
    net = Net(2, 3, 4, 5)
    name = net.add("Transpose", net.conv("x", 6, 3, 1, 1), perm=[0, 2, 3, 1])
    net.add("MatMul", name, net.weight(6, 7))
    assert assert_lowers(net, "nhwc").ops.count("TRANSPOSE") == 0


def test_linear_along_rows_of_a_convolution():
    net = Net(2, 3, 4, 5)
    net.add("MatMul", net.add("Relu", net.conv("x", 6, 3, 1, 1)), net.weight(5, 7))
    assert_lowers(net)


def test_attention():
    net = Net(2, 12, 8)
    q, k, v = (net.add("MatMul", "x", net.weight(8, 8)) for _ in range(3))
    split = net.weight(array=np.array([2, 12, 2, 4], np.int64))
    q, k, v = (net.add("Transpose", net.add("Reshape", t, split), perm=[0, 2, 1, 3]) for t in (q, k, v))
    scores = net.add("MatMul", q, net.add("Transpose", k, perm=[0, 1, 3, 2]))
    weights = net.add("Softmax", net.add("Div", scores, net.weight(array=2.0)), axis=-1)
    mixed = net.add("Transpose", net.add("MatMul", weights, v), perm=[0, 2, 1, 3])
    net.add(
        "MatMul",
        net.add("Reshape", mixed, net.weight(array=np.array([2, 12, 8], np.int64))),
        net.weight(8, 8),
    )
    assert_lowers(net)


def test_what_is_refused():
    net = Net(1, 2, 1, 3, 4)
    net.add("MatMul", "x", net.weight(3, 1, 2, 4, 5))
    assert "(MatMul): stacks of matrices [1, 2, 1] and [3, 1, 2] are broadcast over 3 axes" in refusal(net)
