"""Two networks that train in minutes, of the shapes of ResNet-18 and R3D-18, on the data of the examples.

``resnet``  digits enlarged to (1, 32, 32); 3x3 stem, four stages of two blocks, 16 to 128 channels
``r3d``     clips of moving shapes (4, 14, 32, 44); 3x7x7 stem, four stages of one block, 16 to 128 channels

Noise is added to both, so much that dense networks are wrong once in 30 or 50 times: where nothing is left to
lose, ranks cannot be told apart by accuracy. Clips to test on have more of it than those to learn from, since
a network that learns from as much learns the noise.

Source: He et al. 2016 (arXiv 1512.03385) and Tran et al. 2018 (arXiv 1711.11248) for the shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.tasks import Data, digits, moving_shapes
from tdedge.training.finetune import Settings

_WIDTHS = (16, 32, 64, 128)

#: Deviation of the noise, of samples to learn from and of those to test on: scans from 0 to 1, and clips
#: whose own deviation is 1.
DIGITS_NOISE, CLIPS_NOISE = (0.3, 0.3), (2.0, 3.0)
#: A share that no network can be compressed to; the least that one can be stands for it.
LEAST = 0.0
#: Times that every sample to test on is seen, with other noise each time.
COPIES = 2


class Block(nn.Module):
    """Two convolutions of three taps per axis beside the identity, or a pointwise one where shapes change."""

    def __init__(self, conv: type[nn.Module], norm: type[nn.Module], before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = conv(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = norm(after)
        self.conv2 = conv(after, after, 3, padding=1, bias=False)
        self.norm2 = norm(after)
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.shortcut = nn.Sequential(conv(before, after, 1, stride=stride, bias=False), norm(after))

    def forward(self, x: Tensor) -> Tensor:
        """The same axes, fewer positions where it has a stride."""
        hidden = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(hidden)) + self.shortcut(x))


class Residual(nn.Module):
    """Stem, stages, mean over positions, classifier; ``axes`` is 2 for images, 3 for clips."""

    def __init__(self, axes: int, channels: int, classes: int, blocks: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if axes == 2 else (nn.Conv3d, nn.BatchNorm3d)
        kernel = (3, 3) if axes == 2 else (3, 7, 7)
        stride = (1, 1) if axes == 2 else (1, 2, 2)
        padding = tuple(size // 2 for size in kernel)
        self.stem = conv(channels, _WIDTHS[0], kernel, stride=stride, padding=padding, bias=False)
        self.norm = norm(_WIDTHS[0])
        before, stages = _WIDTHS[0], []
        for width in _WIDTHS:
            for index in range(blocks):
                stages.append(Block(conv, norm, before, width, 2 if index == 0 and width != before else 1))
                before = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        x = self.stages(functional.relu(self.norm(self.stem(x))))
        scores: Tensor = self.head(x.flatten(2).mean(2))
        return scores


@dataclass(frozen=True)
class Network:
    """A network and what it learns.

    Attributes:
        about: one sentence.
        make: seed -> the network with random weights.
        load: seed -> data.
        settings: how it is trained.
        keep: layers that stay dense in every choice.
        budgets: way -> shares: of the dense time, of the multiply-accumulates, of the channels.
        revision: of network, data and training; trained weights of another one are of no use.
    """

    about: str
    make: Callable[[int], nn.Module]
    load: Callable[[int], Data]
    settings: Settings
    keep: tuple[str, ...]
    budgets: Mapping[str, tuple[float, ...]]
    revision: int = 2


def _seeded(make: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    def made(seed: int) -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return make()

    return made


def _large_digits(seed: int) -> Data:
    data = noisy(digits.load(seed), DIGITS_NOISE, seed)

    def enlarged(scans: Tensor) -> Tensor:
        return functional.interpolate(scans, size=(32, 32), mode="bilinear")

    return replace(data, inputs=enlarged(data.inputs), test_inputs=enlarged(data.test_inputs))


def _noisy_clips(seed: int) -> Data:
    return noisy(moving_shapes.load(seed), CLIPS_NOISE, seed)


def noisy(data: Data, deviations: tuple[float, float], seed: int) -> Data:
    """``data`` with noise of these deviations, every sample to test on twice with noise of its own."""
    random = torch.Generator().manual_seed(seed)

    def with_noise(inputs: Tensor, deviation: float) -> Tensor:
        return inputs + deviation * torch.randn(inputs.shape, generator=random)

    learning, testing = deviations
    inputs = with_noise(data.inputs, learning)
    tests = [with_noise(data.test_inputs, testing) for _ in range(COPIES)]
    return Data(inputs, data.labels, torch.cat(tests), data.test_labels.repeat(COPIES))


NETWORKS = {
    "resnet": Network(
        "ResNet-18 at a quarter of its width, on noisy handwritten digits of 32 x 32",
        _seeded(lambda: Residual(2, 1, 10, 2)),
        _large_digits,
        Settings(epochs=5, batch_size=64, learning_rate=3e-3, weight_decay=1e-2),
        ("stem", "head", "*.shortcut.*"),
        {
            "time": (0.65, 0.45, 0.3, LEAST),
            "macs": (0.5, 0.2, 0.08, LEAST),
            "uniform": (0.5, 0.3, 0.15, 0.07),
        },
    ),
    "r3d": Network(
        "R3D with one block per stage at a quarter of its width, on noisy clips of moving shapes",
        _seeded(lambda: Residual(3, 4, 2, 1).to(memory_format=torch.channels_last_3d)),
        _noisy_clips,
        Settings(epochs=5, batch_size=16, learning_rate=1e-3, weight_decay=1e-2),
        ("head", "*.shortcut.*"),
        {"time": (0.6, 0.4, LEAST), "macs": (0.5, 0.2, LEAST), "uniform": (0.5, 0.25, 0.07)},
    ),
}
