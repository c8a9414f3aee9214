"""R3D-18 and R(2+1)D-18 (Tran et al. 2018, arXiv 1711.11248)."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from benchmarks.model_zoo.resnet import conv2plus1d, conv3d


class BasicBlock(nn.Module):
    """Two convolutions beside an identity, or beside a 1x1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, conv: Callable[..., nn.Module]) -> None:
        super().__init__()
        # As many parameters as the 3x3x3 convolution of the block has; one count serves both halves.
        middle = inputs * outputs * 27 // (inputs * 9 + 3 * outputs)
        self.conv1 = conv(inputs, outputs, middle, stride)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.conv2 = conv(outputs, outputs, middle, 1)
        self.bn2 = nn.BatchNorm3d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, T, H, W) -> (N, C_out, T/stride, H/stride, W/stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class VideoResNet(nn.Module):
    """(N, 3, T, H, W) -> (N, classes); ``width`` channels after the stem, 64 in the paper."""

    def __init__(self, stem: nn.Module, conv: Callable[..., nn.Module], width: int, classes: int) -> None:
        super().__init__()
        self.stem = stem
        blocks: list[nn.Module] = []
        inputs = width
        for stage in range(4):
            outputs = width << stage
            for index in range(2):
                blocks.append(BasicBlock(inputs, outputs, 2 if stage and not index else 1, conv))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        return self.fc(self.avgpool(self.blocks(self.stem(x))).flatten(1))


def r3d_18(width: int = 64, classes: int = 400) -> VideoResNet:
    """3x3x3 convolutions throughout."""
    stem = nn.Sequential(
        nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(width), nn.ReLU()
    )
    return VideoResNet(stem, conv3d, width, classes)


def r2plus1d_18(width: int = 64, classes: int = 400) -> VideoResNet:
    """Every 3x3x3 convolution in two: space, then time."""
    middle = width * 45 // 64
    stem = nn.Sequential(
        nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(),
        nn.Conv3d(middle, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(),
    )
    return VideoResNet(stem, conv2plus1d, width, classes)
