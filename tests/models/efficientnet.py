"""EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946)."""

import math

from models.blocks import ConvNorm, SqueezeExcite, divisible
from models.mobilenet import InvertedResidual
from torch import Tensor, nn

#: Expansion, kernel, stride of the first block, channels and blocks, by stage.
STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
)  # fmt: skip
EPS = 1e-3


class EfficientNet(nn.Module):
    """(N, 3, H, W) -> (N, classes); ``width`` and ``depth`` multiply channels and blocks, 1 and 1 in B0."""

    def __init__(self, width: float = 1.0, depth: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        inputs = divisible(32 * width)
        layers: list[nn.Module] = [ConvNorm(3, inputs, 3, 2, activation=nn.SiLU, eps=EPS)]
        for expansion, kernel, stride, channels, blocks in STAGES:
            outputs = divisible(channels * width)
            for index in range(math.ceil(blocks * depth)):
                expanded = inputs * expansion
                # Squeezed to a quarter of the block's input, not of its expanded channels.
                excite = SqueezeExcite(expanded, max(1, inputs // 4), nn.SiLU, nn.Sigmoid)
                layers.append(
                    InvertedResidual(
                        inputs, expanded, outputs, kernel, 1 if index else stride, nn.SiLU,
                        excite=excite, eps=EPS,
                    )
                )  # fmt: skip
                inputs = outputs
        last = divisible(1280 * width)
        layers.append(ConvNorm(inputs, last, 1, activation=nn.SiLU, eps=EPS))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        return self.classifier(self.dropout(self.pool(self.features(x)).flatten(1)))
