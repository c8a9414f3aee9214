"""ResNet-18 (He et al. 2016, arXiv 1512.03385), R3D-18, R(2+1)D-18 (Tran et al. 2018, arXiv 1711.11248)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_CONVS = {2: nn.Conv2d, 3: nn.Conv3d}

#: (inputs, outputs, channels between the two halves, stride) -> 3x3 or 3x3x3 convolution.
MakeConv = Callable[[int, int, int, int], nn.Module]


def conv2d(inputs: int, outputs: int, middle: int, stride: int) -> nn.Module:
    """3x3."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


def conv3d(inputs: int, outputs: int, middle: int, stride: int) -> nn.Module:
    """3x3x3."""
    return nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)


def conv2plus1d(inputs: int, outputs: int, middle: int, stride: int) -> nn.Module:
    """1x3x3 to ``middle`` channels, batch norm and ReLU, 3x1x1."""
    return nn.Sequential(
        nn.Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(),
        nn.Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


class BasicBlock(nn.Module):
    """Two convolutions beside an identity, or beside a pointwise convolution where the shape changes."""

    def __init__(self, axes: int, inputs: int, outputs: int, stride: int, conv: MakeConv) -> None:
        super().__init__()
        # As many parameters as the 3x3x3 convolution of the block has; one count serves both halves.
        middle = inputs * outputs * 27 // (inputs * 9 + 3 * outputs)
        self.conv1 = conv(inputs, outputs, middle, stride)
        self.bn1 = _NORMS[axes](outputs)
        self.conv2 = conv(outputs, outputs, middle, 1)
        self.bn2 = _NORMS[axes](outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                _CONVS[axes](inputs, outputs, 1, stride, bias=False), _NORMS[axes](outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, *spatial) -> (N, C_out, *spatial / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet(nn.Module):
    """Stem, eight blocks at 64 to 512 channels, mean over the positions, Linear layer."""

    def __init__(self, stem: nn.Sequential, axes: int, conv: MakeConv, classes: int) -> None:
        super().__init__()
        self.stem = stem
        blocks: list[nn.Module] = []
        inputs = 64
        for stage in range(4):
            outputs = 64 << stage
            for index in range(2):
                blocks.append(BasicBlock(axes, inputs, outputs, 2 if stage and not index else 1, conv))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1) if axes == 2 else nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.fc(self.pool(self.blocks(self.stem(x))).flatten(1))
        return logits


def resnet18() -> ResNet:
    """(N, 3, 224, 224) -> (N, 1000)."""
    stem = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    )
    return ResNet(stem, 2, conv2d, 1000)


def r3d18() -> ResNet:
    """(N, 3, 16, 112, 112) -> (N, 400); 3x3x3 convolutions throughout."""
    stem = nn.Sequential(
        nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(64), nn.ReLU()
    )
    return ResNet(stem, 3, conv3d, 400)


def r2plus1d18() -> ResNet:
    """(N, 3, 16, 112, 112) -> (N, 400); every 3x3x3 convolution in two: space, then time."""
    stem = nn.Sequential(
        nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), nn.BatchNorm3d(45), nn.ReLU(),
        nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False), nn.BatchNorm3d(64), nn.ReLU(),
    )  # fmt: skip
    return ResNet(stem, 3, conv2plus1d, 400)
