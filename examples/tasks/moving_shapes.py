"""Clips of moving shapes whose direction is the class, and a network like THETIS Net2 that tells them apart.

A clip (4, 14, 32, 44) has red, green, blue and depth. Two soft shapes cross it, one near and one far; what
leaves at one edge comes back at the other. The near one moves to the right (class 0) or to the left (class
1), the far one at random to either side, and both drift up or down. Colours, sizes, speeds, the background
and the noise are drawn for every clip. Clips come in pairs that are the same but for the order of their
frames: the second is the first one backwards. So no single frame says anything about the class, nor does
their sum.

======  =====================================================  ============  =================
layer   computes                                               output        decomposed
======  =====================================================  ============  =================
conv1   Conv3d 4 -> 6, (5,5,5), pad 2, ReLU, pool (1,2,2)      6x14x16x22    tucker (2, 2)
conv2   Conv3d 6 -> 16, (3,5,5), ReLU, pool (2,2,2)            16x6x6x9      tucker (2, 3)
l1      Conv3d 16 -> 128, (6,6,9), ReLU                        128           tucker (4, 7)
l2      Linear 128 -> 84, ReLU                                 84            tucker1 (1)
out     Linear 84 -> 2                                         2             kept
======  =====================================================  ============  =================

Layers, channels and ranks are those of :mod:`tdedge.networks.thetis` (Rasmussen et al. 2022, arXiv
2203.07033). To train in a minute on one core, clips have half the frames and about a quarter of the height
and width; the pools are smaller to match and the first kernel is (5,5,5) in place of (5,11,11), so that every
later layer has the published shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.tasks import Data, Task
from tdedge.plan import LayerRule
from tdedge.training.finetune import Settings

#: Channels (R G B depth), frames, height, width.
CLIP = (4, 14, 32, 44)
_TRAINING, _TESTING = 1280, 600  # clips
_NOISE = 0.1  # deviation of every value, of clips from 0 to 1
_MEAN, _DEVIATION = 0.3, 0.25  # of the values of a clip, before it is standardised


class MovingShapesNet(nn.Module):
    """(N, 4, 14, 32, 44) -> (N, 2) class scores, before the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(4, 6, (5, 5, 5), padding=2)
        self.conv2 = nn.Conv3d(6, 16, (3, 5, 5))
        self.l1 = nn.Conv3d(16, 128, (6, 6, 9))
        self.l2 = nn.Linear(128, 84)
        self.out = nn.Linear(84, 2)
        self.dropout = nn.Dropout(0.2)
        for layer in (self.conv1, self.conv2, self.l1, self.l2):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, clips: Tensor) -> Tensor:
        """Scores of the two directions."""
        x = self.dropout(functional.max_pool3d(functional.relu(self.conv1(clips)), (1, 2, 2)))
        x = self.dropout(functional.max_pool3d(functional.relu(self.conv2(x)), 2))
        x = self.dropout(functional.relu(self.l1(x)).flatten(1))
        x = self.dropout(functional.relu(self.l2(x)))
        scores: Tensor = self.out(x)
        return scores


def network(seed: int) -> nn.Module:
    """The dense network with random weights, channels last, in which 3-D convolutions are trained faster."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return MovingShapesNet().to(memory_format=torch.channels_last_3d)


def load(seed: int) -> Data:
    """1,280 clips to learn from and 600 to test on, half of each class."""
    inputs, labels = clips(_TRAINING, 2 * seed)
    test_inputs, test_labels = clips(_TESTING, 2 * seed + 1)
    return Data(inputs, labels, test_inputs, test_labels)


def clips(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clips (count, 4, 14, 32, 44), standardised, and labels (count,); ``2n`` and ``2n + 1`` are a pair."""
    random = torch.Generator().manual_seed(seed)
    forward = torch.cat([_clips(min(32, count // 2 - start), random) for start in range(0, count // 2, 32)])
    pairs = torch.stack([forward, forward.flip(2)], 1).flatten(0, 1)
    labels = torch.tensor([0, 1]).repeat(count // 2)
    return pairs.contiguous(memory_format=torch.channels_last_3d), labels


def _clips(count: int, random: torch.Generator) -> Tensor:
    """Clips of class 0."""
    channels, _, height, width = CLIP
    coarse = torch.rand((count, channels, 4, 6), generator=random)
    ground = 0.4 * functional.interpolate(coarse, size=(height, width), mode="bilinear")[:, :, None]
    sides = 2.0 * torch.randint(2, (count,), generator=random) - 1
    far = _shapes(count, sides, random)
    near = _shapes(count, torch.ones(count), random)
    colours = _uniform((count, 2, channels, 1, 1, 1), 0.3, 1.0, random)
    colours[:, 0, 3], colours[:, 1, 3] = 0.5, 0.9  # depth
    scene = ground * (1 - far) + colours[:, 0] * far
    scene = scene * (1 - near) + colours[:, 1] * near
    noisy = (scene + _NOISE * torch.randn((count, *CLIP), generator=random)).clamp(0, 1)
    return (noisy - _MEAN) / _DEVIATION


def _shapes(count: int, sides: Tensor, random: torch.Generator) -> Tensor:
    """How much of each pixel a shape covers, (count, 1, T, H, W), for shapes that move to ``sides``."""
    _, frames, height, width = CLIP
    time = torch.arange(frames, dtype=torch.float32)
    shares = []
    speeds = (sides * _uniform((count,), 0.8, 2.4, random), _uniform((count,), -1.0, 1.0, random))
    for speed, size in zip(speeds, (width, height), strict=True):
        start = _uniform((count, 1), 0, size, random)
        centre = start + speed[:, None] * time
        offset = (torch.arange(size) - centre[..., None] + size / 2) % size - size / 2  # (count, T, size)
        radius = _uniform((count, 1, 1), 2.5, 4.5, random)
        shares.append(offset / radius)
    across, down = shares
    distance = across[:, :, None, :] ** 4 + down[:, :, :, None] ** 4
    return torch.exp(-math.log(2) * distance)[:, None]


def _uniform(shape: tuple[int, ...], low: float, high: float, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=random)


TASK = Task(
    name="moving_shapes",
    about=(
        "Clips of two moving shapes in red, green, blue and depth, made here; the class is the direction in "
        "which the near one moves, and the clips of one class are those of the other played backwards; 1,280 "
        "are to learn from, 600 for testing. The network is THETIS Net2 for clips of 14 x 32 x 44 in place "
        "of 28 x 120 x 160: the first kernel is (5,5,5) in place of (5,11,11), pools are smaller, every "
        "later layer has the published shape. Row tucker has the published ranks."
    ),
    load=load,
    network=network,
    keep=("out",),
    dense=Settings(epochs=4, batch_size=16, learning_rate=2e-3, weight_decay=1e-3),
    # At the settings of the dense network NTT stands still for as long as that learns.
    scratch=Settings(epochs=16, batch_size=32, learning_rate=5e-3, weight_decay=1e-3),
    tune=Settings(epochs=4, batch_size=16, learning_rate=2e-3, weight_decay=1e-3, distill_weight=0.5),
    calibration=512,
    ridge=1e-1,  # a choice for the patches of 5,184 numbers in l1 would take minutes
    sweeps=6,
    published={
        "tucker": {
            "conv1": LayerRule(format="tucker", ranks=(2, 2)),
            "conv2": LayerRule(format="tucker", ranks=(2, 3)),
            "l1": LayerRule(format="tucker", ranks=(4, 7)),
            "l2": LayerRule(format="tucker1", ranks=(1,)),
        }
    },
)
