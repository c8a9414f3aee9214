"""Tiny networks trained from scratch on tasks made here: NTT on images, KCP on video clips."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tdedge.modules import BranchLayer, ChainLayer


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, one held-out batch and its labels, and its accuracy."""

    module: nn.Module
    example: torch.Tensor
    labels: torch.Tensor
    accuracy: float


class NttNet(nn.Module):
    """(N, 3, 16, 16) -> (N, 4): two activated tensor trains, and one in the classifier."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first = ChainLayer.scratch(
            "ntt", 3, 16, (5, 5), (3, 8, 12), padding="same", seed=seed, batch_norm=True
        )
        self.second = ChainLayer.scratch(
            "ntt", 16, 24, (3, 3), (12, 12, 16), padding="same", seed=seed + 1, batch_norm=True
        )
        self.head = ChainLayer.scratch("ntt", 24, 4, (), (12,), seed=seed + 2, batch_norm=True)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.first(x)), 2)
        x = functional.relu(self.second(x))
        return self.head(x.mean((2, 3)))


class KcpNet(nn.Module):
    """(N, 1, 8, 16, 16) -> (N, 4): KCP convolutions (the second of two branches) and a KCP classifier."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first = ChainLayer.scratch(
            "kcp", 1, 12, (3, 5, 5), (16,), stride=(1, 2, 2), padding=(1, 2, 2), seed=seed
        )
        self.second = BranchLayer.scratch(
            "kcp", 12, 16, (3, 3, 3), [(12,), (8,)], padding=(1, 1, 1), seed=seed + 1
        )
        self.head = ChainLayer.scratch("kcp", 16, 4, (), (4,), seed=seed + 2)

    def forward(self, x):
        x = functional.relu(self.first(x))
        x = functional.max_pool3d(functional.relu(self.second(x)), (2, 2, 2))
        return self.head(x.mean((2, 3, 4)))


def gratings(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy (N, 3, 16, 16) images of coloured stripes in one of four directions, at any phase and pitch."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count)
    y, x = np.mgrid[:16, :16]
    angle = (labels * np.pi / 4)[:, None, None]
    phase, pitch = rng.uniform(0, 2 * np.pi, (count, 1, 1)), rng.uniform(4, 7, (count, 1, 1))
    images = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / pitch + phase)
    colors = rng.choice([-1.0, 1.0], (count, 3, 1, 1)) * rng.uniform(0.5, 1.0, (count, 3, 1, 1))
    images = images[:, None] * colors + rng.normal(0, 0.7, (count, 3, 16, 16))
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(labels)


def moving_blobs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy (N, 1, 8, 16, 16) clips of a blob moving right, left, down or up.

    Where it is says nothing: it starts anywhere and leaves through one edge to come back through the other.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count)
    step = np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])[labels] * rng.uniform(0.8, 1.6, (count, 1))
    start = rng.uniform(0, 16, (count, 2))
    centre = start[:, None] + np.arange(8)[None, :, None] * step[:, None]
    grid = np.arange(16)
    distance = (grid - centre[..., None] + 8) % 16 - 8
    profile = np.exp(-(distance**2) / 4)
    clips = profile[:, :, 0, :, None] * profile[:, :, 1, None, :] + rng.normal(0, 0.15, (count, 8, 16, 16))
    return torch.from_numpy(clips[:, None].astype(np.float32)), torch.from_numpy(labels)


def train(module: nn.Module, task, *, epochs: int, rate: float, seed: int = 0) -> Trained:
    """Train on 1,024 samples with Adam; accuracy is that on 512 samples of another seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(seed)
        inputs, labels = task(1024, seed)
        steps = epochs * (len(inputs) // 64)
        optimiser = torch.optim.Adam(module.parameters(), rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
        module.train()
        for _ in range(epochs):
            for batch in torch.randperm(len(inputs)).split(64):
                optimiser.zero_grad()
                functional.cross_entropy(module(inputs[batch]), labels[batch]).backward()
                optimiser.step()
                schedule.step()
        module.eval()
        held_out, truth = task(512, seed + 1)
        with torch.no_grad():
            accuracy = float((module(held_out).argmax(1) == truth).float().mean())
    finally:
        torch.set_num_threads(threads)
    return Trained(module, held_out[:4], truth[:4], accuracy)


def trained_ntt(seed: int = 0) -> Trained:
    return train(NttNet(seed), gratings, epochs=12, rate=0.02, seed=seed)


def trained_kcp(seed: int = 0) -> Trained:
    return train(KcpNet(seed), moving_blobs, epochs=5, rate=0.02, seed=seed)
