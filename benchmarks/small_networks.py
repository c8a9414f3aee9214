"""Small networks that converters to TFLite are compared on: a plain 3-D one and a residual 2-D one."""

from __future__ import annotations

import torch
from torch import nn


def c3d(seed: int = 0) -> nn.Module:
    """A 3-D network like C3D: four 3x3x3 convolutions at 16 to 128 channels; input (N, 3, 16, 112, 112)."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        *_block3d(3, 16), nn.MaxPool3d((1, 2, 2)),
        *_block3d(16, 32), nn.MaxPool3d(2),
        *_block3d(32, 64), nn.MaxPool3d(2),
        *_block3d(64, 128),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(128, 20),
    )  # fmt: skip
    return _trained_like(net)


def res2d(seed: int = 0) -> nn.Module:
    """A residual 2-D network: four blocks at 32 to 128 channels; input (N, 3, 64, 64)."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        _Residual(32, 32, 1), _Residual(32, 32, 1), _Residual(32, 64, 2), _Residual(64, 128, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 100),
    )  # fmt: skip
    return _trained_like(net)


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
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first_norm(self.first(values)))
        return torch.relu(self.second_norm(self.second(hidden)) + self.shortcut(values))


def _block3d(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv3d(before, after, 3, padding=1, bias=False), nn.BatchNorm3d(after), nn.ReLU()]


def _trained_like(net: nn.Module) -> nn.Module:
    """Give every normalisation statistics and weights of its own, so that folding one wrongly shows."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.05, 0.2)
    return net.eval()
