"""U-Nets: 2-D (Ronneberger et al. 2015, arXiv 1505.04597) and 3-D (Cicek et al. 2016, arXiv 1606.06650).

Both with zero padding and batch norm, so that the output is as large as the input.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def _double(inputs: int, middle: int, outputs: int, *, axes: int, bias: bool) -> nn.Sequential:
    """Twice a convolution of three taps per axis, batch norm and ReLU."""
    conv, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[axes - 2]
    layers: list[nn.Module] = []
    for source, target in ((inputs, middle), (middle, outputs)):
        layers += [conv(source, target, 3, padding=1, bias=bias), norm(target), nn.ReLU()]
    return nn.Sequential(*layers)


def _fit(x: Tensor, like: Tensor) -> Tensor:
    """``x`` padded with zeros to the height and width of ``like``, where pooling cut an odd row off."""
    rows, columns = like.shape[2] - x.shape[2], like.shape[3] - x.shape[3]
    if rows or columns:
        x = functional.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
    return x


class UNet2d(nn.Module):
    """(N, inputs, H, W) -> (N, classes, H, W), H and W at least ``2**depth``.

    Args:
        width: channels of the first level, doubled by each of the ``depth`` levels below (64 and 4).
        bilinear: upsample by interpolation in place of a transposed convolution of learnt weights; the two
            levels that meet then have as many channels each.
        align_corners: the interpolation's grid runs from corner pixel to corner pixel.
    """

    def __init__(
        self,
        inputs: int = 3,
        classes: int = 2,
        width: int = 64,
        depth: int = 4,
        *,
        bilinear: bool = False,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        if bilinear:
            widths[-1] //= 2
        self.stem = _double(inputs, width, width, axes=2, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(
            _double(above, below, below, axes=2, bias=False) for above, below in pairwise(widths)
        )
        self.up = nn.ModuleList()
        self.join = nn.ModuleList()
        below = widths[-1]
        for level in reversed(range(depth)):
            skip = widths[level]
            if bilinear:
                outputs = skip // 2 if level else width
                self.up.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners))
                self.join.append(_double(skip + below, (skip + below) // 2, outputs, axes=2, bias=False))
            else:
                outputs = skip
                self.up.append(nn.ConvTranspose2d(below, skip, 2, 2))
                self.join.append(_double(2 * skip, skip, skip, axes=2, bias=False))
            below = outputs
        self.head = nn.Conv2d(below, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of every pixel."""
        x = self.stem(x)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(self.pool(x))
        for up, join, skip in zip(self.up, self.join, reversed(skips), strict=True):
            x = join(torch.cat([skip, _fit(up(x), skip)], 1))
        return self.head(x)


class UNet3d(nn.Module):
    """(N, inputs, T, H, W) -> (N, classes, T, H, W), sizes divisible by ``2**depth``.

    ``width`` channels after the first convolution (32), doubled ahead of each of ``depth`` poolings (3).
    """

    def __init__(self, inputs: int = 3, classes: int = 3, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.pool = nn.MaxPool3d(2)
        self.down = nn.ModuleList()
        for level in range(depth + 1):
            half = width << level
            self.down.append(_double(half if level else inputs, half, 2 * half, axes=3, bias=True))
        self.up = nn.ModuleList()
        self.join = nn.ModuleList()
        for level in reversed(range(depth)):
            skip = 2 * width << level
            self.up.append(nn.ConvTranspose3d(2 * skip, 2 * skip, 2, 2, bias=False))
            self.join.append(_double(3 * skip, skip, skip, axes=3, bias=True))
        self.head = nn.Conv3d(2 * width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of every voxel."""
        skips = []
        for level, down in enumerate(self.down):
            x = down(self.pool(x) if level else x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, reversed(skips[:-1]), strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        return self.head(x)
