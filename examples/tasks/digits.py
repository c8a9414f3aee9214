"""Handwritten digits: the 1,797 scans of 8 x 8 pixels that come with scikit-learn, and a residual network.

Scans are enlarged to (1, 16, 16) by bilinear interpolation, values from 0 to 1. A third of each class is for
testing. Every scan to learn from comes twice: as it is, and moved by up to two pixels with noise added.

=======  ===========================================  ==========
layer    computes                                     output
=======  ===========================================  ==========
stem     Conv2d 1 -> 32, 3x3, norm, ReLU              32x16x16
block1   residual, two Conv2d 32 -> 32, 3x3           32x16x16
block2   residual, Conv2d 32 -> 64, 64 -> 64, stride  64x8x8
block3   residual, Conv2d 64 -> 128, 128 -> 128       128x4x4
head     mean, Linear 128 -> 10                       10
=======  ===========================================  ==========

Source: E. Alpaydin, C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, as distributed with scikit-learn (nothing is downloaded).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.tasks import Data, Task
from tdedge.errors import MissingError
from tdedge.training.finetune import Settings

#: Height and width in pixels.
SIZE = 16
_COPIES = 1  # moved ones of every scan to learn from
_MOVES = 2  # pixels
_NOISE = 0.1  # deviation, of a scan from 0 to 1


class DigitsNet(nn.Module):
    """(N, 1, 16, 16) -> (N, 10) class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.block1 = _Residual(32, 32, 1)
        self.block2 = _Residual(32, 64, 2)
        self.block3 = _Residual(64, 128, 2)
        self.head = nn.Linear(128, 10)

    def forward(self, scans: Tensor) -> Tensor:
        """Scores of the ten digits."""
        x = functional.relu(self.norm(self.stem(scans)))
        x = self.block3(self.block2(self.block1(x)))
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


class _Residual(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a pointwise convolution where shapes change."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.shortcut = nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(hidden)) + self.shortcut(x))


def network(seed: int) -> nn.Module:
    """The dense network with random weights."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return DigitsNet()


def load(seed: int) -> Data:
    """About 1,200 scans twice to learn from, and 596 to test on.

    Raises:
        MissingError: when scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingError.extra("scikit-learn", "examples") from error
    bunch = load_digits()
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    scans = torch.from_numpy(bunch.images.astype(np.float32)[:, None] / 16)
    scans = functional.interpolate(scans, size=(SIZE, SIZE), mode="bilinear").clamp(0, 1)
    random = torch.Generator().manual_seed(seed)
    testing = torch.zeros(len(labels), dtype=torch.bool)
    for digit in range(10):
        own = torch.nonzero(labels == digit)[:, 0]
        testing[own[torch.randperm(len(own), generator=random)[: len(own) // 3]]] = True
    seen = scans[~testing]
    copies = [seen, *(_moved(seen, random) for _ in range(_COPIES))]
    return Data(torch.cat(copies), labels[~testing].repeat(len(copies)), scans[testing], labels[testing])


def _moved(scans: Tensor, random: torch.Generator) -> Tensor:
    """Each scan moved by whole pixels, with zeros following in, and noise added."""
    padded = functional.pad(scans, (_MOVES,) * 4)
    starts = torch.randint(2 * _MOVES + 1, (len(scans), 2), generator=random).tolist()
    moved = [scan[:, y : y + SIZE, x : x + SIZE] for scan, (y, x) in zip(padded, starts, strict=True)]
    noise = _NOISE * torch.randn(scans.shape, generator=random)
    return (torch.stack(moved) + noise).clamp(0, 1)


TASK = Task(
    name="digits",
    about=(
        "Handwritten digits (scikit-learn's 1,797 scans, enlarged to 16 x 16; 596 of them for testing) and a "
        "residual network of seven 3 x 3 convolutions at 32 to 128 channels. The stem, the pointwise "
        "shortcuts and the classifier stay dense; the six convolutions in the blocks hold 97 % of the "
        "multiply-accumulates."
    ),
    load=load,
    network=network,
    keep=("stem", "*.shortcut", "head"),
    dense=Settings(epochs=10, batch_size=64, learning_rate=3e-3, weight_decay=1e-2),
    tune=Settings(epochs=6, batch_size=64, learning_rate=1e-3, weight_decay=1e-3, distill_weight=0.7),
)
