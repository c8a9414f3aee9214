"""Chains as torch modules: exact round trips, equal outputs, gradients, state, export."""

import copy
import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tdedge import formats
from tdedge.chain import Chain
from tdedge.compose import NotExactError
from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.modules import BranchLayer, ChainLayer, factor_of

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
DENSE = [
    pytest.param(lambda: nn.Linear(10, 7), (4, 10), id="linear"),
    pytest.param(lambda: nn.Linear(10, 7, bias=False), (2, 3, 10), id="linear-3-axes"),
    pytest.param(lambda: nn.Conv1d(4, 6, 5, stride=2, padding=3), (2, 4, 17), id="1d"),
    pytest.param(lambda: nn.Conv2d(4, 6, 3, (2, 1), (0, 2), dilation=2), (2, 4, 11, 9), id="2d"),
    pytest.param(lambda: nn.Conv2d(6, 9, 3, padding=1, groups=3, bias=False), (2, 6, 8, 8), id="groups"),
    pytest.param(lambda: nn.Conv2d(4, 6, (4, 3), padding="same"), (2, 4, 9, 9), id="same-even"),
    pytest.param(lambda: nn.Conv2d(4, 6, 3, padding="valid"), (2, 4, 9, 9), id="valid"),
    pytest.param(lambda: nn.Conv3d(3, 5, (3, 2, 3), (1, 2, 2), (1, 0, 1)), (1, 3, 6, 8, 7), id="3d"),
]


def assert_close(actual, expected, relative):
    actual, expected = actual.detach(), expected.detach()
    scale = float(expected.abs().max())
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= relative * scale


def assert_same_chain(left, right):
    assert left.format == right.format
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert np.array_equal(a.kernel, b.kernel)
        assert a.kernel.dtype == b.kernel.dtype
        assert (a.bias is None) == (b.bias is None)
        assert a.bias is None or np.array_equal(a.bias, b.bias)
        geometry = ("stride", "pads", "dilation", "groups", "activation")
        assert [getattr(a, name) for name in geometry] == [getattr(b, name) for name in geometry]


def chain_of(layer, name, ranks=None):
    dense = factor_of(layer)
    fmt = formats.get(name)
    return fmt.decompose(dense, ranks or fmt.max_ranks(dense))


@pytest.mark.parametrize(("make", "shape"), DENSE)
def test_a_factor_is_its_layer(make, shape):
    layer, x = make(), torch.randn(shape)
    single = ChainLayer.from_chain(formats.get("svd").decompose(factor_of(layer), (100,)))
    dense = factor_of(layer)
    assert dense.params == sum(p.numel() for p in layer.parameters())
    assert dense.output_shape(shape) == tuple(layer(x).shape)
    assert_close(single(x), layer(x), 1e-5)


@pytest.mark.parametrize("name", [name for name in formats.FORMATS if name != "ntt"])
@pytest.mark.parametrize(("make", "shape"), DENSE)
def test_full_rank_chain_equals_the_layer(make, shape, name):
    torch.manual_seed(3)
    layer, x = make(), torch.randn(shape)
    chain = ChainLayer.from_chain(chain_of(layer, name))
    assert_close(chain(x), layer(x), 1e-5)


@pytest.mark.parametrize("name", formats.FORMATS)
@pytest.mark.parametrize(("make", "shape"), DENSE)
def test_round_trip_is_exact(make, shape, name):
    chain = chain_of(make(), name)
    assert_same_chain(ChainLayer.from_chain(chain).to_chain(), chain)
    double = chain.astype(np.float64)
    assert_same_chain(ChainLayer.from_chain(double).to_chain(), double)


def test_the_module_owns_its_weights():
    chain = chain_of(nn.Linear(6, 5), "svd")
    before = chain.factors[0].kernel.copy()
    layer = ChainLayer.from_chain(chain)
    held = layer.to_chain()
    with torch.no_grad():
        layer.factors[0].weight.zero_()
    assert np.array_equal(chain.factors[0].kernel, before)
    assert np.array_equal(held.factors[0].kernel, before)


@pytest.mark.parametrize("name", formats.FORMATS)
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_gradients_flow_through_every_factor(name, axes):
    dense = Factor(np.zeros((6, 4, *(3,) * axes), np.float32))
    ranks = [max(2, rank // 2) for rank in formats.get(name).max_ranks(dense)]
    layer = ChainLayer.scratch(name, 4, 6, (3,) * axes, ranks, padding=1 if axes else 0)
    x = torch.randn(8, 4, *(7,) * axes, requires_grad=True)
    layer(x).square().sum().backward()
    assert float(x.grad.abs().max()) > 0
    for parameter_name, parameter in layer.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert float(parameter.grad.abs().max()) > 0, parameter_name


def test_state_dict_reads_like_the_chain_and_loads_back():
    torch.manual_seed(0)
    chain = chain_of(nn.Conv2d(4, 6, 3), "tucker", (2, 3))
    layer = ChainLayer.from_chain(chain)
    assert list(layer.state_dict()) == [
        "factors.0.weight", "factors.1.weight", "factors.2.weight", "factors.2.bias",
    ]  # fmt: skip
    other = ChainLayer.from_chain(chain_of(nn.Conv2d(4, 6, 3), "tucker", (2, 3)))
    x = torch.randn(1, 4, 8, 8)
    assert not torch.allclose(other(x), layer(x))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


def test_deepcopy_is_independent():
    layer = ChainLayer.scratch("ntt", 4, 6, (3, 3), (2, 3, 4), batch_norm=True)
    clone, x = copy.deepcopy(layer).eval(), torch.randn(2, 4, 8, 8)
    before = clone(x)
    layer.train()(x)
    with torch.no_grad():
        layer.factors[0].weight.zero_()
    assert torch.equal(clone(x), before)


def test_unbatched_input():
    layer = nn.Conv2d(4, 6, 4, padding="same")
    x = torch.randn(4, 9, 9)
    assert_close(ChainLayer.from_chain(chain_of(layer, "tucker"))(x), layer(x), 1e-5)


def test_grouped_linear_factor():
    rng = np.random.default_rng(0)
    dense = Factor(rng.standard_normal((6, 2)), groups=3, bias=rng.standard_normal(6))
    layer = ChainLayer.from_chain(formats.get("svd").decompose(dense, (2,)))
    x = rng.standard_normal((2, 5, 6))
    blocks = [x[..., 2 * g : 2 * g + 2] @ dense.kernel[2 * g : 2 * g + 2].T for g in range(3)]
    expected = torch.from_numpy(np.concatenate(blocks, -1) + dense.bias)
    assert_close(layer(torch.from_numpy(x)), expected, 1e-12)


def test_bfloat16_weights_become_float32():
    layer = nn.Conv1d(3, 4, 3).to(torch.bfloat16)
    dense = factor_of(layer)
    assert dense.kernel.dtype == np.float32
    assert np.array_equal(dense.kernel, layer.weight.detach().float().numpy())


class Scaled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), ["reflect", "keep"]),
        (nn.ConvTranspose2d(3, 4, 3), ["ConvTranspose2d", "keep"]),
        (Scaled(3, 4, 3), ["Scaled", "keep"]),
    ],
)
def test_other_layers_are_refused(layer, words):
    with pytest.raises(UsageError) as caught:
        factor_of(layer)
    assert all(word in str(caught.value) for word in words)


# --- trained from scratch ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", formats.FORMATS)
def test_scratch_has_the_shapes_of_the_dense_layer(name):
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
    dense = nn.Conv2d(8, 6, 3, **options)
    ranks = [2] * len(formats.get(name).max_ranks(factor_of(dense)))
    layer = ChainLayer.scratch(name, 8, 6, (3, 3), ranks, **options)
    x = torch.randn(2, 8, 9, 9)
    assert layer(x).shape == dense(x).shape
    assert layer.format == name
    again = ChainLayer.scratch(name, 8, 6, (3, 3), ranks, **options)
    assert_same_chain(layer.to_chain(), again.to_chain())
    other = ChainLayer.scratch(name, 8, 6, (3, 3), ranks, seed=1, **options)
    assert not torch.allclose(layer(x), other(x))


def test_scratch_mistakes():
    for arguments, words in [
        (("tuker", 4, 4, (3,), (2, 2)), "tucker"),
        (("tucker", 4, 4, (3,), (2,)), "2 rank"),
        (("tucker", 4, 4, (3, 3, 3, 3), (2, 2)), "spatial"),
    ]:
        with pytest.raises(UsageError, match=words):
            ChainLayer.scratch(*arguments)
    for options, words in [
        ({"groups": 3}, "groups 3"),
        ({"padding": "full"}, "full"),
        ({"padding": "same", "stride": 2}, "stride 1"),
        ({"stride": (1, 1)}, "1 spatial|per spatial"),
        ({"batch_norm": True}, "ntt"),
    ]:
        with pytest.raises(UsageError, match=words):
            ChainLayer.scratch("tucker", 4, 4, (3,), (2, 2), **options)


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_batch_norm_is_folded_into_the_chain(axes):
    torch.manual_seed(0)
    ranks = (3,) if axes == 0 else (3,) * (axes + 1)
    layer = ChainLayer.scratch("ntt", 4, 5, (3,) * axes, ranks, padding=1 if axes else 0, batch_norm=True)
    x = torch.randn(32, 4, *(6,) * axes)
    for _ in range(3):
        layer.train()(3 * x + 1)
    for factor in layer.factors[:-1]:
        nn.init.uniform_(factor.norm.weight, -1.0, 2.0)
        nn.init.normal_(factor.norm.bias)
    layer.eval()
    chain = layer.to_chain()
    assert all(factor.bias is not None for factor in chain)
    folded = ChainLayer.from_chain(chain)
    assert not any("norm" in key for key in folded.state_dict())
    assert_close(folded(x), layer(x), 1e-5)
    assert layer.factors[-1].norm is None


def test_batch_norm_on_linear_inputs_of_three_axes():
    layer = ChainLayer.scratch("ntt", 4, 5, (), (3,), batch_norm=True).eval()
    x = torch.randn(2, 6, 4)
    assert_close(layer(x), layer(x.reshape(12, 4)).reshape(2, 6, 5), 1e-6)


# --- branches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 5, 9), (2, 5, 9, 8), (1, 5, 6, 9, 8)])
def test_merged_branches_give_equal_outputs(shape):
    axes = len(shape) - 2
    options = {"stride": (2,) * axes, "padding": (1,) * axes}
    layer = BranchLayer.scratch("kcp", 5, 7, (3,) * axes, [(4,), (3,), (6,)], seed=2, **options).eval()
    x = torch.randn(shape)
    merged = layer.merge()
    expected = sum(branch(x) for branch in layer.branches)
    assert_close(layer(x), expected, 1e-6)
    assert_close(merged(x), expected, 1e-5)
    assert merged.to_chain().ranks[0] == 13
    assert not merged.training


def test_branches_start_with_the_variance_of_one_chain():
    x = torch.randn(64, 8, 12, 12)
    deviations = []
    for count in (1, 4):
        layers = [
            BranchLayer.scratch("kcp", 8, 32, (3, 3), [(16,)] * count, padding=1, seed=seed)
            for seed in range(8)
        ]
        deviations.append(math.sqrt(sum(float(layer(x).detach().var()) for layer in layers) / 8))
    assert 0.7 < deviations[1] / deviations[0] < 1.4


def test_branches_that_differ_cannot_be_merged():
    branches = [ChainLayer.scratch("kcp", 4, 4, size, (2,), padding="same") for size in [(3, 3), (5, 5)]]
    layer = BranchLayer(branches)
    assert layer(torch.randn(1, 4, 8, 8)).shape == (1, 4, 8, 8)
    with pytest.raises(NotExactError, match="geometry"):
        layer.merge()


def test_no_branches():
    with pytest.raises(UsageError, match="at least one"):
        BranchLayer([])


# --- export --------------------------------------------------------------------------------------------


def exported(module, x, tmp_path):
    path = tmp_path / "layer.onnx"
    torch.onnx.export(module.eval(), (x,), str(path), dynamo=True, opset_version=18, verbose=False)
    model = onnx.load(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    with torch.no_grad():
        expected = module(x)
    assert_close(torch.from_numpy(session.run(None, {name: x.numpy()})[0]), expected, 1e-5)
    return [node.op_type for node in model.graph.node], model


def test_a_convolution_chain_exports_to_plain_convolutions(tmp_path):
    layer = ChainLayer.from_chain(chain_of(nn.Conv3d(4, 6, 3, padding=1, stride=(1, 2, 2)), "cp", (5,)))
    ops, model = exported(layer, torch.randn(1, 4, 5, 8, 8), tmp_path)
    assert ops == ["Conv"] * 5
    biased = [len(node.input) == 3 for node in model.graph.node]
    assert biased == [False] * 4 + [True]


def test_an_activated_chain_exports_to_convolutions_and_relu(tmp_path):
    layer = ChainLayer.scratch("ntt", 4, 6, (3, 3), (3, 4, 5), padding="same", batch_norm=True)
    layer.train()(torch.randn(16, 4, 8, 8))
    folded = ChainLayer.from_chain(layer.to_chain())
    ops, _ = exported(folded, torch.randn(1, 4, 8, 8), tmp_path)
    assert ops == ["Conv", "Relu"] * 3 + ["Conv"]


@pytest.mark.parametrize("shape", [(3, 10), (2, 5, 10)])
def test_a_linear_chain_exports_to_matrix_products(tmp_path, shape):
    layer = ChainLayer.from_chain(chain_of(nn.Linear(10, 8), "svd", (3,)))
    ops, _ = exported(layer, torch.randn(shape), tmp_path)
    assert set(ops) <= {"MatMul", "Gemm", "Add"}
    assert sum(op in ("MatMul", "Gemm") for op in ops) == 2


def test_uneven_padding_is_exported_as_it_is(tmp_path):
    layer = ChainLayer.from_chain(chain_of(nn.Conv2d(4, 6, (4, 3), padding="same"), "tucker", (3, 3)))
    _, model = exported(layer, torch.randn(1, 4, 8, 8), tmp_path)
    pads = [next(list(a.ints) for a in node.attribute if a.name == "pads") for node in model.graph.node]
    assert pads == [[0, 0, 0, 0], [1, 1, 2, 1], [0, 0, 0, 0]]


def test_torch_export_keeps_the_outputs():
    layer, x = ChainLayer.scratch("ht2", 4, 6, (3, 3), (2, 3, 4), padding=1), torch.randn(2, 4, 8, 8)
    program = torch.export.export(layer, (x,))
    assert torch.equal(program.module()(x), layer(x))


# --- any geometry --------------------------------------------------------------------------------------


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 3))
    per_axis = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * axes))  # noqa: E731
    groups = draw(st.sampled_from([1, 1, 2]))
    layer = CONVOLUTIONS[axes](
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        per_axis(1, 3),
        stride=per_axis(1, 3),
        padding=per_axis(0, 2),
        dilation=per_axis(1, 2),
        groups=groups,
        bias=draw(st.booleans()),
    )
    return layer, torch.randn(2, layer.in_channels, *per_axis(5, 8))


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.sampled_from([name for name in formats.FORMATS if name != "ntt"]))
def test_any_geometry_at_full_rank(case, name):
    layer, x = case
    with torch.no_grad():
        expected = layer.double()(x.double())
        actual = ChainLayer.from_chain(chain_of(layer, name))(x.double())
    assert actual.shape == expected.shape
    tolerance = 1e-5 * max(float(expected.abs().max()), 1e-3)
    assert float((actual - expected).abs().max()) <= tolerance


@pytest.mark.parametrize("activation", ["relu", "relu6", "sigmoid", "tanh"])
def test_activations(activation):
    kernel = np.random.default_rng(0).standard_normal((5, 4, 3)) * 4
    layer = ChainLayer.from_chain(Chain((Factor(kernel, activation=activation),)))
    x = torch.randn(2, 4, 9, dtype=torch.float64)
    plain = functional.conv1d(x, torch.from_numpy(kernel))
    expected = {
        "relu": plain.clamp(min=0),
        "relu6": plain.clamp(0, 6),
        "sigmoid": 1 / (1 + torch.exp(-plain)),
        "tanh": (torch.exp(2 * plain) - 1) / (torch.exp(2 * plain) + 1),
    }[activation]
    assert_close(layer(x), expected, 1e-9)
