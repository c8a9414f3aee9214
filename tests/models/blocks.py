"""What the mobile networks share: rounded widths, Conv-BN-activation and squeeze-and-excitation."""

from collections.abc import Callable

from torch import Tensor, nn


def divisible(channels: float, divisor: int = 8) -> int:
    """``channels`` rounded to a multiple of ``divisor``, never down by more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class ConvNorm(nn.Sequential):
    """Conv2d without bias, padded to keep the size, batch norm and an activation (or none)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: Callable[[], nn.Module] | None = None,
        eps: float = 1e-5,
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs, eps=eps))
        if activation is not None:
            self.append(activation())


class SqueezeExcite(nn.Module):
    """Channels scaled by a gate that a two-layer network computes from their means."""

    def __init__(
        self,
        channels: int,
        squeezed: int,
        activation: Callable[[], nn.Module],
        gate: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x * self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))
