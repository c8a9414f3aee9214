"""A network of every kind of layer, for the tests of compression."""

import torch
from torch import nn
from torch.nn import functional

from tdedge import formats
from tdedge.modules import factor_of
from tdedge.plan import CompressionPlan, LayerRule


class Small(nn.Module):
    """1-D, 2-D and 3-D convolutions with every kind of geometry, and Linear layers, in one network."""

    def __init__(self):
        super().__init__()
        self.video = nn.Sequential(nn.Conv3d(3, 6, (3, 3, 2), (1, 2, 1), (1, 0, 1)), nn.ReLU())
        self.image = nn.Sequential(
            nn.Conv2d(6, 8, 3, padding="same", dilation=2),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=2, bias=False),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.Conv2d(8, 10, 1, stride=2),
        )
        self.signal = nn.Conv1d(10, 12, 5, stride=2, padding=2)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.image(self.video(x).mean(2))
        return self.head(functional.relu(self.signal(x.flatten(2))).mean(2))


SHAPE = (2, 3, 4, 13, 12)


LAYERS = ["video.0", "image.0", "image.2", "image.3", "image.4", "signal", "head"]


def small(seed=0):
    torch.manual_seed(seed)
    return Small().eval(), torch.randn(SHAPE)


def assert_close(actual, expected, relative):
    with torch.no_grad():
        assert float((actual - expected).abs().max()) <= relative * float(expected.abs().max())


def full_rank_plan(module, name):
    fmt = formats.get(name)
    layers = {
        n: m
        for n, m in module.named_modules()
        if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    }
    return CompressionPlan(layers={
        n: LayerRule(format=name, ranks=fmt.max_ranks(factor_of(m))) for n, m in layers.items()
    })  # fmt: skip


def rows(report):
    return {row.name: row for row in report.rows}
