"""MobileNetV2 (arXiv 1801.04381) and MobileNetV3 (arXiv 1905.02244)."""

from collections.abc import Callable
from typing import NamedTuple

from models.blocks import ConvNorm, SqueezeExcite, divisible
from torch import Tensor, nn

#: Expansion, channels, blocks and stride of the first, by stage.
V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class V3Block(NamedTuple):
    """A row of the paper's tables."""

    kernel: int
    expanded: int
    outputs: int
    excite: bool
    hard_swish: bool
    stride: int


V3_SMALL = (
    V3Block(3, 16, 16, True, False, 2),
    V3Block(3, 72, 24, False, False, 2),
    V3Block(3, 88, 24, False, False, 1),
    V3Block(5, 96, 40, True, True, 2),
    V3Block(5, 240, 40, True, True, 1),
    V3Block(5, 240, 40, True, True, 1),
    V3Block(5, 120, 48, True, True, 1),
    V3Block(5, 144, 48, True, True, 1),
    V3Block(5, 288, 96, True, True, 2),
    V3Block(5, 576, 96, True, True, 1),
    V3Block(5, 576, 96, True, True, 1),
)
V3_LARGE = (
    V3Block(3, 16, 16, False, False, 1),
    V3Block(3, 64, 24, False, False, 2),
    V3Block(3, 72, 24, False, False, 1),
    V3Block(5, 72, 40, True, False, 2),
    V3Block(5, 120, 40, True, False, 1),
    V3Block(5, 120, 40, True, False, 1),
    V3Block(3, 240, 80, False, True, 2),
    V3Block(3, 200, 80, False, True, 1),
    V3Block(3, 184, 80, False, True, 1),
    V3Block(3, 184, 80, False, True, 1),
    V3Block(3, 480, 112, True, True, 1),
    V3Block(3, 672, 112, True, True, 1),
    V3Block(5, 672, 160, True, True, 2),
    V3Block(5, 960, 160, True, True, 1),
    V3Block(5, 960, 160, True, True, 1),
)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-and-excitation where wanted, 1x1 projection."""

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        kernel: int,
        stride: int,
        activation: Callable[[], nn.Module],
        *,
        excite: nn.Module | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(ConvNorm(inputs, expanded, 1, activation=activation, eps=eps))
        layers.append(
            ConvNorm(expanded, expanded, kernel, stride, groups=expanded, activation=activation, eps=eps)
        )
        if excite is not None:
            layers.append(excite)
        layers.append(ConvNorm(expanded, outputs, 1, eps=eps))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H/stride, W/stride)."""
        return x + self.layers(x) if self.residual else self.layers(x)


class _Classifier(nn.Module):
    """Convolutions, mean over the positions, classifier: (N, 3, H, W) -> (N, classes)."""

    def __init__(self, features: list[nn.Module], classifier: list[nn.Module]) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(*classifier)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


class MobileNetV2(_Classifier):
    """``width`` multiplies all channels, those of the last convolution only ``last`` times."""

    def __init__(self, width: float = 1.0, classes: int = 1000, last: int = 1280) -> None:
        inputs = divisible(32 * width)
        layers: list[nn.Module] = [ConvNorm(3, inputs, 3, 2, activation=nn.ReLU6)]
        for expansion, channels, blocks, stride in V2_STAGES:
            outputs = divisible(channels * width)
            for index in range(blocks):
                layers.append(
                    InvertedResidual(inputs, inputs * expansion, outputs, 3, 1 if index else stride, nn.ReLU6)
                )
                inputs = outputs
        layers.append(ConvNorm(inputs, last, 1, activation=nn.ReLU6))
        super().__init__(layers, [nn.Dropout(0.2), nn.Linear(last, classes)])


class MobileNetV3(_Classifier):
    """``blocks`` are :data:`V3_SMALL` or :data:`V3_LARGE`, ``last`` is 1024 or 1280 before ``width``."""

    def __init__(
        self, blocks: tuple[V3Block, ...], last: int, width: float = 1.0, classes: int = 1000
    ) -> None:
        eps = 1e-3
        inputs = divisible(16 * width)
        layers: list[nn.Module] = [ConvNorm(3, inputs, 3, 2, activation=nn.Hardswish, eps=eps)]
        for block in blocks:
            expanded, outputs = divisible(block.expanded * width), divisible(block.outputs * width)
            excite = None
            if block.excite:
                excite = SqueezeExcite(expanded, divisible(expanded // 4), nn.ReLU, nn.Hardsigmoid)
            activation = nn.Hardswish if block.hard_swish else nn.ReLU
            layers.append(
                InvertedResidual(
                    inputs, expanded, outputs, block.kernel, block.stride, activation, excite=excite, eps=eps
                )
            )
            inputs = outputs
        layers.append(ConvNorm(inputs, 6 * inputs, 1, activation=nn.Hardswish, eps=eps))
        hidden = divisible(last * width)
        head = [
            nn.Linear(6 * inputs, hidden),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(hidden, classes),
        ]
        super().__init__(layers, head)


def mobilenet_v3_small(width: float = 1.0, classes: int = 1000) -> MobileNetV3:
    """The small network of the paper."""
    return MobileNetV3(V3_SMALL, 1024, width, classes)


def mobilenet_v3_large(width: float = 1.0, classes: int = 1000) -> MobileNetV3:
    """The large network of the paper."""
    return MobileNetV3(V3_LARGE, 1280, width, classes)
