"""Networks the benchmarks measure: small enough for minutes, shaped like the ones people deploy."""

from __future__ import annotations

import torch
from torch import nn


def image_net(seed: int = 0) -> nn.Module:
    """A 2-D network like VGG: six 3x3 convolutions at 64 to 256 channels; input (N, 3, 96, 96)."""
    torch.manual_seed(seed)
    return nn.Sequential(
        *_block2d(3, 64), *_block2d(64, 64), nn.MaxPool2d(2),
        *_block2d(64, 128), *_block2d(128, 128), nn.MaxPool2d(2),
        *_block2d(128, 256), *_block2d(256, 256),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 100),
    ).eval()  # fmt: skip


def video_net(seed: int = 0) -> nn.Module:
    """A 3-D network like C3D: four 3x3x3 convolutions at 16 to 64 channels; input (N, 3, 8, 56, 56)."""
    torch.manual_seed(seed)
    return nn.Sequential(
        *_block3d(3, 16), nn.MaxPool3d((1, 2, 2)),
        *_block3d(16, 32), nn.MaxPool3d(2),
        *_block3d(32, 64), *_block3d(64, 64),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(64, 20),
    ).eval()  # fmt: skip


def _block2d(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]


def _block3d(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv3d(before, after, 3, padding=1), nn.ReLU()]


#: name -> (factory, input shape, name of the first convolution, which stays dense)
NETWORKS = {
    "image": (image_net, (1, 3, 96, 96), "0"),
    "video": (video_net, (1, 3, 8, 56, 56), "0"),
}
