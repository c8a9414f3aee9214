"""THETIS Net2: forehand against backhand strokes in RGB-D clips, the network of the 3-D Tucker paper.

======  =====================================================  ============  =================
layer   computes                                               output        decomposed
======  =====================================================  ============  =================
conv1   Conv3d 4 -> 6, (5,11,11), pad (2,5,5), ReLU, pool      6x14x30x40    tucker (2, 2)
conv2   Conv3d 6 -> 16, (3,5,5), ReLU, pool                    16x6x6x9      tucker (2, 3)
l1      Conv3d 16 -> 128, (6,6,9), ReLU                        128           tucker (4, 7)
l2      Linear 128 -> 84, ReLU                                 84            tucker1 (1)
out     Linear 84 -> 2, softmax                                2             kept
======  =====================================================  ============  =================

Pools are MaxPool3d (2,4,4); dropout of 0.2 follows each stage. 696,428 parameters become 13,598 (51.2x),
15,775.0 M FLOPs become 2,632.9 M (5.99x).

No trained weights are shipped: :func:`dense` draws weights that have the published ranks by construction,
plus noise. Shapes, costs and ranks are those of the published network; its predictions are not.

Source: Rasmussen, Clemmensen, Baum 2022, "Compressing CNN kernels for videos using Tucker decompositions"
(NLDL, arXiv 2203.07033), network and ranks from the code published with it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tdedge.compress import compress
from tdedge.factor import Array, Shape
from tdedge.plan import CompressionPlan, LayerRule

#: One clip: (N, channels R G B depth, frames, height, width), values from 0 to 1.
INPUT_SHAPE: Shape = (1, 4, 28, 120, 160)

#: The published ranks: (R_in, R_out) for Tucker-2.
PLAN = CompressionPlan(
    keep=("out",),
    layers={
        "conv1": LayerRule(format="tucker", ranks=(2, 2)),
        "conv2": LayerRule(format="tucker", ranks=(2, 3)),
        "l1": LayerRule(format="tucker", ranks=(4, 7)),
        "l2": LayerRule(format="tucker1", ranks=(1,)),
    },
)

_NOISE = 0.01  # of the weights' norm
_BIAS = 0.1  # deviation of the biases

#: Variance of a layer's output over that of its input: they bring clips from 0 to 1 near unit scale and keep
#: them there, and the probabilities away from 0 and 1.
_GAINS = {"conv1": 8.0, "conv2": 4.0, "l1": 4.0, "l2": 4.0, "out": 2.0}


class Net2(nn.Module):
    """(N, 4, 28, 120, 160) -> (N, 2) probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(4, 6, (5, 11, 11), padding=(2, 5, 5))
        self.conv2 = nn.Conv3d(6, 16, (3, 5, 5))
        self.l1 = nn.Conv3d(16, 128, (6, 6, 9))
        self.l2 = nn.Linear(128, 84)
        self.out = nn.Linear(84, 2)
        self.pool = nn.MaxPool3d((2, 4, 4))
        self.dropout = nn.Dropout(0.2)

    @property
    def example_input(self) -> Tensor:
        """One synthetic clip, so that the network can be captured without naming its input shape."""
        return example_inputs()[0]

    def forward(self, clip: Tensor) -> Tensor:
        """Probabilities of the two strokes."""
        x = self.dropout(self.pool(functional.relu(self.conv1(clip))))
        x = self.dropout(self.pool(functional.relu(self.conv2(x))))
        x = self.dropout(functional.relu(self.l1(x)).flatten(1))
        x = self.dropout(functional.relu(self.l2(x)))
        return functional.softmax(self.out(x), dim=1)


def dense(seed: int = 0) -> Net2:
    """The dense network in evaluation mode, with seeded weights of the published ranks plus noise."""
    rng = np.random.default_rng(seed)
    network = Net2().eval()
    for name, rule in PLAN.layers.items():
        assert rule.ranks is not None
        layer = network.get_submodule(name)
        _fill(layer, _low_rank(rng, _shape(layer), rule.ranks, _GAINS[name]), rng)
    scale = math.sqrt(_GAINS["out"] / 84)
    _fill(network.out, scale * rng.standard_normal((2, 84)), rng)
    return network


def compressed(seed: int = 0) -> Net2:
    """:func:`dense`, with the published layers replaced by factor chains at the published ranks."""
    network = dense(seed)
    compress(network, PLAN, example=torch.zeros(INPUT_SHAPE))
    return network


def example_inputs(seed: int = 0, batch: int = 1) -> tuple[Tensor]:
    """Synthetic clips (batch, 4, 28, 120, 160): a body and a racket swinging before a textured court."""
    rng = np.random.default_rng(seed)
    return (torch.from_numpy(np.stack([_clip(rng) for _ in range(batch)])),)


def _clip(rng: np.random.Generator) -> Array:
    """(4, 28, 120, 160) in [0, 1]."""
    frames, height, width = INPUT_SHAPE[2:]
    time = np.linspace(-1, 1, frames)[:, None, None]
    y, x = np.mgrid[0:height, 0:width] / height
    side = rng.choice([-1.0, 1.0])
    angle = side * (1.2 * time + rng.uniform(-0.3, 0.3))
    body_x = 0.65 + rng.uniform(-0.15, 0.15)
    racket_x, racket_y = body_x + 0.3 * np.sin(angle), 0.5 - 0.3 * np.cos(angle) * rng.uniform(0.2, 1)
    body = np.exp(-(((x - body_x) / 0.08) ** 2) - ((y - 0.6) / 0.25) ** 2)
    racket = np.exp(-((x - racket_x) ** 2 + (y - racket_y) ** 2) / 0.05**2)
    colors = rng.uniform(0.2, 1.0, (2, 4, 1, 1, 1))
    court = rng.uniform(0.0, 0.3, (4, 1, height, width)) + 0.2 * y
    noise = rng.normal(0.0, 0.02, (4, frames, height, width))
    clip = court + noise + colors[0] * body + colors[1] * racket
    bounded: Array = np.clip(clip, 0.0, 1.0).astype(np.float32)
    return bounded


def _low_rank(rng: np.random.Generator, shape: Shape, ranks: Shape, gain: float) -> Array:
    """A weight (T, S, *k) of the given (R_in, R_out), or (R,), plus noise of 1 % of its norm.

    Orthonormal bases make all singular values comparable, so that the ranks can be told from the noise. Taps
    of a kernel sum to zero per channel, so that the answer depends on what varies in the clip, not on its
    brightness. Scaled to keep ``gain`` times the variance of its input.
    """
    outputs, inputs, *taps = shape
    rank_in, rank_out = ranks[0], ranks[-1]
    core = rng.standard_normal((rank_out, rank_in, *taps)) if taps else np.eye(rank_in)
    if taps:
        axes = tuple(range(2, core.ndim))
        core -= core.mean(axis=axes, keepdims=True)
    weight = np.einsum(
        "tp,pq...,sq->ts...", _basis(rng, outputs, rank_out), core, _basis(rng, inputs, rank_in)
    )
    noise = rng.standard_normal(shape)
    weight += _NOISE * noise * np.linalg.norm(weight) / np.linalg.norm(noise)
    scaled: Array = weight * math.sqrt(gain * outputs) / np.linalg.norm(weight)
    return scaled


def _basis(rng: np.random.Generator, size: int, rank: int) -> Array:
    basis: Array = np.linalg.qr(rng.standard_normal((size, rank)))[0]
    return basis


def _shape(layer: nn.Module) -> Shape:
    assert isinstance(layer.weight, Tensor)
    return tuple(layer.weight.shape)


def _fill(layer: nn.Module, weight: Array, rng: np.random.Generator) -> None:
    """Set the weight, and a small random bias."""
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(rng.normal(0.0, _BIAS, weight.shape[0])))
