"""VGG-16 (Simonyan and Zisserman 2015, arXiv 1409.1556), its three Linear layers replaced by one."""

from __future__ import annotations

from torch import Tensor, nn

#: Output channels of the 3x3 convolutions, by stage.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """(N, 3, 224, 224) -> (N, 1000): 13 convolutions, mean over the positions, one Linear layer."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for stage in STAGES:
            for outputs in stage:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.fc(self.pool(self.features(x)).flatten(1))
        return logits
