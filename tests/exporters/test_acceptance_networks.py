"""The acceptance networks: the architectures of the papers, well conditioned, exported as they are."""

import math

import pytest
import torch
from models.catalogue import NETWORKS, PUBLISHED
from support.decompositions import ALL_SVD, PAIRS, WITHOUT_TAPS, decomposed, tapped_layers
from torch import nn

from tdedge.formats import FORMATS
from tdedge_exporters.export import export

#: As published: torchvision's model pages for 1000 (images) and 400 classes (clips).
PARAMS = {
    "resnet18": 11_689_512,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
    "efficientnet_b0": 5_288_548,
    "r3d_18": 33_371_472,
    "r2plus1d_18": 31_505_325,
    # Convolutions 27,655,936 and Linear layers 33,558,528 + 16,781,312 + 487 * 4097.
    "c3d": 79_991_015,
    # The usual implementation: batch norm, no bias in front of it, transposed convolutions with bias.
    "unet2d": 31_037_698,
    # The same, bilinear, known with biases that batch norm makes idle.
    "unet2d_bilinear": 17_267_393 - 4_416,
    # The paper's figure, which leaves out scale and offset of the 2336 normalised channels.
    "unet3d": 19_069_955 + 2 * 2_336,
}

#: 10^9 multiply-accumulates of one forward pass, as published with those figures, to two digits.
GIGA_MACS = {
    "resnet18": 1.81,
    "mobilenet_v2": 0.30,
    "mobilenet_v3_small": 0.06,
    "mobilenet_v3_large": 0.22,
    "efficientnet_b0": 0.39,
    "r3d_18": 40.70,
    "r2plus1d_18": 40.52,
    "c3d": 38.55,
}

#: Input times output channels over 64, times positions, of C3D's convolutions.
C3D_STAGES = (
    3 * 16 * 112**2,
    128 * 16 * 56**2,
    (512 + 1024) * 8 * 28**2,
    (2048 + 4096) * 4 * 14**2,
    2 * 4096 * 2 * 7**2,
)

#: Multiply-accumulates by hand. Channels double where the positions of a plane fall to a quarter, so that a
#: stage of a 2-D network costs as much as the one above, a stage of a 3-D network half as much.
MACS = {
    # Stem; 4 convolutions at full size; then by stage half a convolution, 3 and a pointwise half.
    "resnet18": 147 * 64 * 112**2 + (36 + 3 * 32) * 64**2 * 56**2 + 512 * 1000,
    "r3d_18": (3 * 147 * 64 + (108 + 95 * 7 / 8) * 64**2) * 16 * 56**2 + 512 * 400,
    # Eight convolutions of 27 taps, three Linear layers.
    "c3d": 27 * 64 * sum(C3D_STAGES) + 8192 * 4096 + 4096 * 4096 + 4096 * 487,
    # Stem 9, 4 levels down 13.5 each, 4 times transposed 2 and joined 27, in squares of the width.
    "unet2d": (179 * 64**2 + 27 * 64 + 2 * 64) * 512**2,
    # Stem 9, down 3 * 13.5 + 4.5, joined 3 * 22.5 + 27.
    "unet2d_bilinear": (148.5 * 64**2 + 27 * 64 + 64) * 512**2,
    # Level 0 is 54, three levels down 81 halved each time, transposed 16 and joined 432 by level up.
    "unet3d": ((54 + 81 * 7 / 8 + 448 * 7 / 4) * 32**2 + 81 * 32 + 6 * 32) * 64**3,
}

LAYERS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def params_of(net):
    return sum(parameter.numel() for parameter in net.parameters())


def macs_of(net, shape, device="cpu"):
    """Of convolutions and Linear layers: every weight, once per position it is applied at."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        x = inputs[0] if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d) else output
        total += math.prod(x.shape[2:]) * layer.weight.numel()

    for layer in net.modules():
        if isinstance(layer, LAYERS):
            layer.register_forward_hook(count)
    with torch.no_grad():
        net.eval()(torch.zeros(shape, device=device))
    return total


@pytest.mark.parametrize("name", PUBLISHED)
def test_full_size_is_as_published(name):
    make, shape = PUBLISHED[name]
    with torch.device("meta"):
        net = make()
    assert params_of(net) == PARAMS[name]
    macs = macs_of(net, shape, "meta")
    assert name in GIGA_MACS or name in MACS
    if name in GIGA_MACS:
        assert round(macs / 1e9, 2) == GIGA_MACS[name]
    if name in MACS:
        assert macs == MACS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_small_one_is_well_conditioned(name):
    network = NETWORKS[name]
    net, again = network.factory(), network.factory()
    assert not net.training
    assert params_of(net) < 1_000_000
    for (key, value), other in zip(net.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(value, other), key
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d)]
    assert bool(norms) == (name != "c3d")
    for norm in norms:
        for statistic in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            assert float(statistic.detach().std()) > 1e-3
    assert_varied(net, network.input_shape)
    assert isinstance(net.get_submodule(network.first_layer), nn.Conv2d | nn.Conv3d)


def assert_varied(net, shape):
    """Outputs of order 1, a good part of it due to the input, on inputs never seen."""
    with torch.no_grad():
        outputs = net(torch.randn((16, *shape[1:]), generator=torch.Generator().manual_seed(2)))
    assert 0.1 < float(outputs.std()) < 5
    assert float(outputs.std(0).mean()) > 0.05


@pytest.mark.parametrize("name", NETWORKS)
def test_dense_export_with_parity(tmp_path, name):
    network = NETWORKS[name]
    net = network.factory()
    result = export(
        net, tmp_path / "out", to="onnxruntime", example=torch.zeros(network.input_shape), input_sets=1
    )
    (target,) = result.manifest.targets
    assert target.parity["passed"]
    assert 0 < target.parity["max_rel"] <= 1e-4
    assert not result.manifest.warnings
    assert result.manifest.cost["captured"]["macs"] == macs_of(net, network.input_shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_decomposed_is_well_conditioned_too(name):
    done = decomposed(name, "ntt")
    assert_varied(done.module, done.example.shape)
    kept = {row.name for row in done.report.rows if row.format is None}
    assert NETWORKS[name].first_layer in kept


def test_pairs_are_those_with_taps():
    for name in NETWORKS:
        assert any(tapped_layers(name)) == (name not in WITHOUT_TAPS)
    assert len(PAIRS) + len(ALL_SVD) == len(NETWORKS) * len(FORMATS)
