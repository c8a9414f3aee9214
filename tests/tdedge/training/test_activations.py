"""Moments of layers' inputs, and the output errors they predict."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.formats import get
from tdedge.modules import ChainLayer, factor_of
from tdedge.training import activations
from tdedge.training.activations import input_moments, output_error


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(),
        nn.Flatten(2), nn.Linear(9, 5), nn.Conv1d(8, 4, 1),
    ).train()  # fmt: skip


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    colours = torch.randn(40, 3, 1, 1, generator=generator)
    return colours + 0.3 * torch.randn(40, 3, 10, 10, generator=generator) + 0.5


NAMES = ("0", "2", "5", "6")
RANKS = {"0": ("tucker", (2, 3)), "2": ("tucker", (2, 3)), "5": ("svd", (3,)), "6": ("svd", (2,))}


def test_output_errors_are_those_of_running_the_layer(network, images):
    moments = input_moments(network, images, NAMES, batch_size=16)
    assert {name: m.shape for name, m in moments.items()} == {
        "0": (27, 27), "2": (2, 36, 36), "5": (9, 9), "6": (8, 8),
    }  # fmt: skip
    assert all(m.dtype == np.float64 for m in moments.values())
    assert network.training
    x = images
    with torch.no_grad():
        for name, layer in network.named_children():
            y = layer(x)
            if name in NAMES:
                dense = factor_of(layer)
                fmt, ranks = RANKS[name]
                chain = get(fmt).decompose(dense, ranks)
                gap = ChainLayer.from_chain(chain)(x) - y
                shape = (1, -1, *(1,) * (y.dim() - 2)) if dense.spatial_rank else (-1,)
                linear = y - layer.bias.reshape(shape)
                expected = float(gap.norm() / linear.norm())
                assert output_error(dense, chain, moments[name]) == pytest.approx(expected, rel=1e-4)
            x = y


def test_the_metric_is_that_of_the_data(network, images):
    """Where all channels carry the same, a kernel that is their mean loses nothing but in its weights."""
    grey = images[:, :1].expand(-1, 3, -1, -1)
    dense = factor_of(network[0])
    mean = np.broadcast_to(dense.kernel.mean(1, keepdims=True), dense.kernel.shape)
    chain = Chain((replace(dense, kernel=mean),))
    assert chain.relative_error(dense) > 0.5
    assert output_error(dense, chain, input_moments(network, grey, ["0"])["0"]) < 1e-6
    assert output_error(dense, chain, input_moments(network, images, ["0"])["0"]) > 0.1


def test_wide_patches_are_reduced_to_channels(network, images, monkeypatch):
    full = input_moments(network, images, ["0"])["0"]
    monkeypatch.setattr(activations, "WIDEST", 20)
    reduced = input_moments(network, images, ["0", "6"])
    assert reduced["0"].shape == (3, 3)
    expected = torch.einsum("nchw,ndhw->cd", images.double(), images.double()) / (40 * 100)
    assert np.allclose(reduced["0"], expected.numpy())
    assert reduced["6"].shape == (8, 8)
    dense = factor_of(network[0])
    chain = get("tucker").decompose(dense, (2, 3))
    assert 0 < output_error(dense, chain, reduced["0"]) < 1
    assert output_error(dense, chain, reduced["0"]) == pytest.approx(
        output_error(dense, chain, full), rel=0.5
    )


def test_sampled_positions_are_close_and_repeatable(network, images, monkeypatch):
    full = input_moments(network, images, ["0"])["0"]
    monkeypatch.setattr(activations, "_LEAST_ROWS", 400)
    monkeypatch.setattr(activations, "_ROWS_PER_COLUMN", 1)
    part, again = (input_moments(network, images, ["0"], batch_size=8)["0"] for _ in range(2))
    assert np.array_equal(part, again)
    assert not np.allclose(part, full)
    assert np.linalg.norm(part - full) < 0.2 * np.linalg.norm(full)


def test_unknown_layers_are_named(network, images):
    with pytest.raises(UsageError, match="'1' is no Conv or Linear layer"):
        input_moments(network, images, ["1"])
    with pytest.raises(UsageError, match="at least 1"):
        input_moments(network, images[:0], ["0"])
