"""C3D (Tran et al. 2015, arXiv 1412.0767): eight 3x3x3 convolutions, no batch norm."""

from __future__ import annotations

from torch import Tensor, nn

#: Output channels of the convolutions, and the pool after them (None: no pool).
LAYERS: tuple[tuple[int, tuple[int, int, int] | None], ...] = (
    (64, (1, 2, 2)), (128, (2, 2, 2)), (256, None), (256, (2, 2, 2)), (512, None), (512, (2, 2, 2)),
    (512, None), (512, (2, 2, 2)),
)  # fmt: skip


class C3D(nn.Module):
    """(N, 3, 16, 112, 112) -> (N, 487)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for index, (outputs, pool) in enumerate(LAYERS):
            layers += [nn.Conv3d(inputs, outputs, 3, padding=1), nn.ReLU()]
            if pool is not None:
                layers.append(nn.MaxPool3d(pool, padding=(0, 1, 1) if index == len(LAYERS) - 1 else 0))
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 16, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 487)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits
