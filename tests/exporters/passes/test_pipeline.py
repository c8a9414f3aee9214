"""Both pipelines on whole graphs, and on the networks tensorly-torch builds.

tensorly-torch 0.5.0 runs and exports as it is under torch 2.13 for every case below. Its ``from_conv``
reads the stride of the first axis only, so layers here have one stride for all axes; ``rank`` is given so
that no factor is trivial. CP warns that a random initialisation was used where the rank exceeds a mode.
"""

import warnings

import numpy as np
import onnx_ir as ir
import pytest
import torch
from support.graphs import Net, assert_close, assert_rewrites, ops, run

from tdedge_exporters.chains import find_chains
from tdedge_exporters.passes.pipeline import CLEAN, COMPOSE, clean, compose

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tltorch

CONVS = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}


class Recorder:
    def __init__(self):
        self.calls = []

    def start(self, label, total):
        self.calls.append((label, total))

    def step(self, detail):
        self.calls.append(detail)

    def finish(self):
        self.calls.append("finish")


def captured(module, x, optimize=True):
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(), (x,), dynamo=True, opset_version=18, verbose=False, optimize=optimize
        )
        expected = module(x).numpy()
    return ir.from_proto(ir.to_proto(program.model)), expected


def factorized(axes, factorization, implementation, *, stride=1, padding=1, bias=True):
    torch.manual_seed(0)
    conv = CONVS[axes](6, 8, 3, stride=stride, padding=padding, bias=bias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tltorch.FactorizedConv.from_conv(
            conv, rank=0.4, factorization=factorization, implementation=implementation
        )


#: What each factor is: pointwise, k along some axes, depthwise.
FACTORS = {
    "tucker": lambda axes: ["pointwise", "dense", "pointwise"],
    "cp": lambda axes: ["pointwise", *["depthwise"] * axes, "pointwise"],
    "tt": lambda axes: ["pointwise", *["dense"] * axes, "pointwise"],
}


def kind(factor):
    return "pointwise" if factor.is_pointwise else "depthwise" if factor.is_depthwise else "dense"


@pytest.mark.parametrize(
    ("stride", "padding", "bias", "optimize"),
    [(1, 1, True, True), (2, 1, True, False), (2, 0, False, False)],
    ids=["folded-by-the-exporter", "strided", "unpadded"],
)
@pytest.mark.parametrize("factorization", FACTORS)
@pytest.mark.parametrize("axes", [2, 3])
def test_factorized_networks_of_tensorly_torch(axes, factorization, stride, padding, bias, optimize):
    layer = factorized(axes, factorization, "factorized", stride=stride, padding=padding, bias=bias)
    x = torch.randn(2, 6, *range(7, 7 + axes))
    model, expected = captured(torch.nn.Sequential(layer, torch.nn.ReLU()), x, optimize)
    clean(model)
    kinds = FACTORS[factorization](axes)
    assert ops(model) == {"Conv": len(kinds), "Relu": 1}
    (site,) = find_chains(model)
    assert [kind(factor) for factor in site.chain] == kinds
    assert site.chain.factors[0].spatial_rank == axes
    assert [factor.bias is not None for factor in site.chain] == [False] * (len(kinds) - 1) + [bias]
    assert_close(run(model, x.numpy()), [expected])
    before = site.chain.macs(site.input_shape)
    compose(model)
    assert sum(s.chain.macs(s.input_shape) for s in find_chains(model)) <= before
    assert_close(run(model, x.numpy()), [expected])


@pytest.mark.parametrize("factorization", FACTORS)
@pytest.mark.parametrize("axes", [2, 3])
def test_reconstructed_networks_of_tensorly_torch(axes, factorization):
    layer = factorized(axes, factorization, "reconstructed", stride=2)
    x = torch.randn(2, 6, *range(7, 7 + axes))
    model, expected = captured(layer, x, optimize=False)
    clean(model)
    assert ops(model) == {"Conv": 1}
    assert_close(run(model, x.numpy()), [expected])


@pytest.mark.parametrize("axes", [2, 3])
def test_mobilenet_form_of_cp(axes):
    x = torch.randn(2, 6, *range(7, 7 + axes))
    model, expected = captured(factorized(axes, "cp", "mobilenet"), x, optimize=False)
    clean(model)
    (site,) = find_chains(model)
    assert [kind(factor) for factor in site.chain] == ["pointwise", "depthwise", "pointwise"]
    assert_close(run(model, x.numpy()), [expected])


def test_stacked_layers_of_tensorly_torch():
    """Between two layers the Reshapes of both meet, with an activation and a norm in between."""
    first, second = factorized(2, "cp", "factorized"), factorized(2, "tucker", "factorized")
    reduce = torch.nn.Conv2d(8, 6, 1)
    norm = torch.nn.BatchNorm2d(8)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    module = torch.nn.Sequential(first, norm, torch.nn.ReLU(), reduce, second)
    x = torch.randn(1, 6, 9, 8)
    model, expected = captured(module, x, optimize=False)
    clean(model)
    assert ops(model) == {"Conv": 8, "Relu": 1}
    assert [len(site.chain) for site in find_chains(model)] == [8]
    assert_close(run(model, x.numpy()), [expected])
    compose(model)
    assert_close(run(model, x.numpy()), [expected])


def test_channels_last_and_einsum_factors_of_torch_networks():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Parameter(torch.randn(3, 4))
            self.core = torch.nn.Conv2d(3, 3, 3, padding=1, bias=False)
            self.last = torch.nn.Linear(3, 5)
            self.left = torch.nn.Parameter(torch.randn(6, 5))

        def forward(self, x):
            x = self.core(torch.einsum("bcxy,rc->brxy", x, self.first))
            x = self.last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return torch.matmul(self.left, x.flatten(2)).reshape(x.shape[0], 6, *x.shape[2:])

    x = torch.randn(2, 4, 6, 7)
    model, expected = captured(Network(), x)
    clean(model)
    assert ops(model) == {"Conv": 4}
    (site,) = find_chains(model)
    assert [kind(factor) for factor in site.chain] == ["pointwise", "dense", "pointwise", "pointwise"]
    assert_close(run(model, x.numpy()), [expected])


def test_linear_layers_are_one_chain():
    module = torch.nn.Sequential(torch.nn.Linear(8, 2, bias=False), torch.nn.Linear(2, 6))
    for shape in ((3, 8), (2, 3, 8)):
        x = torch.randn(*shape)
        model, expected = captured(module, x, optimize=False)
        clean(model)
        (site,) = find_chains(model)
        assert site.chain.ranks == (2,)
        assert_close(run(model, x.numpy()), [expected])


def test_every_step_is_reported():
    net = Net(1, 4, 6)
    net.add("Relu", net.conv("x", 4, 4, 1))
    progress = Recorder()
    model = net.model()
    assert clean(model, progress)
    compose(model, progress)
    assert progress.calls == [
        ("Clean", len(CLEAN)),
        *(kind.__name__ for kind in CLEAN),
        "finish",
        ("Compose", len(COMPOSE)),
        *(kind.__name__ for kind in COMPOSE),
        "finish",
    ]


def test_dead_code_is_removed_and_interfaces_stay():
    net = Net(1, 4, 6)
    inner = net.conv("x", 4, 4, 1, name="inner")
    net.conv(inner, 9, 4, 1, name="dead")
    net.add("Relu", net.conv(inner, 5, 4, 3), name="y")

    def both(model):
        clean(model)
        compose(model)

    model = assert_rewrites(net, both, "y", "inner")
    assert ops(model) == {"Conv": 2, "Relu": 1}
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert len(model.graph.initializers) == 2


def test_branches_composed_to_one_geometry_are_summed():
    net = Net(1, 4, 8, 8)
    long = net.conv(net.conv("x", 4, 4, 1, 1), 5, 4, 3, 3, pads=1)
    net.add("Add", long, net.conv("x", 5, 4, 3, 3, pads=1))
    assert ops(assert_rewrites(net, compose)) == {"Conv": 1}


def test_records_are_listed_once():
    net = Net(1, 4, 6, 6)
    net.add("Add", net.conv("x", 5, 4, 3, 3, pads=1), net.conv("x", 5, 4, 1, 1))
    records = compose(net.model())
    assert len(records) == len(set(records)) == 1


def random_network(seed):
    """Conv, norm, activation, branches, residuals, a shared weight, two outputs."""
    rng = np.random.default_rng(seed)
    net = Net("n" if seed % 3 == 0 else 2, 4, 10, 9, seed=seed)
    value, outputs, shared = "x", [], net.weight(4, 4, 1, 1, name="shared")
    for _ in range(rng.integers(3, 8)):
        match rng.integers(0, 8):
            case 0:
                value = net.conv(
                    value, 4, 4, 3, 3, pads=1, bias=bool(rng.integers(2)), groups=int(rng.choice([1, 2]))
                )
            case 1:
                value = net.conv(value, 4, 4, 1, 1, bias=bool(rng.integers(2)))
            case 2:
                value = net.add(str(rng.choice(["Relu", "Tanh", "Sigmoid"])), value)
            case 3:
                names = [net.weight(4) for _ in range(3)] + [net.weight(array=rng.uniform(0.5, 2, 4))]
                value = net.add("BatchNormalization", value, *names)
            case 4:
                sides = [net.conv(net.conv(value, r, 4, 1, 1), 4, r, 3, 3, pads=1) for r in (2, 3)]
                value = net.add("Add", *sides)
            case 5:
                value = net.add("Add", net.conv(value, 4, 4, 1, 1, weight=shared), value)
            case 6:
                value = net.conv(value, 4, 4, 1, 1, weight=shared)
            case 7:
                value = net.add("Mul", value, net.weight(4, 1, 1))
                outputs.append(value)
    end = net.add("Neg", value, name="end")
    return net, (end, *dict.fromkeys(outputs))


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_keep_their_outputs(seed):
    net, outputs = random_network(seed)

    def both(model):
        clean(model)
        compose(model)

    assert_rewrites(net, both, *outputs, tolerance=2e-5)
