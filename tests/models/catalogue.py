"""The acceptance networks: small versions with seeded weights, and the full ones of the papers."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from models import c3d, efficientnet, mobilenet, resnet, unet, video_resnet
from models.conditioning import conditioned
from torch import nn


class Network(NamedTuple):
    """A small network: ``factory()`` gives it in evaluation mode, the same weights every time.

    ``input_shape`` is of batch 1; ``first_layer`` is the name of the layer that is never decomposed.
    """

    factory: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    first_layer: str


def _small(make: Callable[[], nn.Module], input_shape: tuple[int, ...], first_layer: str) -> Network:
    return Network(partial(conditioned, make, input_shape), input_shape, first_layer)


#: Eleven networks, 2-D ones first. Sizes that are odd somewhere are meant.
NETWORKS: dict[str, Network] = {
    "resnet18": _small(partial(resnet.ResNet18, 8, 10), (1, 3, 64, 64), "conv1"),
    "mobilenet_v2": _small(partial(mobilenet.MobileNetV2, 0.35, 10, 128), (1, 3, 64, 64), "features.0.0"),
    "mobilenet_v3_small": _small(
        partial(mobilenet.mobilenet_v3_small, 0.35, 10), (1, 3, 64, 64), "features.0.0"
    ),
    "efficientnet_b0": _small(
        partial(efficientnet.EfficientNet, 0.25, 0.5, 10), (1, 3, 64, 64), "features.0.0"
    ),
    "unet2d": _small(partial(unet.UNet2d, 3, 2, 8, 3), (1, 3, 48, 64), "stem.0"),
    "unet2d_bilinear": _small(partial(unet.UNet2d, 3, 2, 8, 3, bilinear=True), (1, 3, 42, 52), "stem.0"),
    "unet2d_bilinear_half_pixel": _small(
        partial(unet.UNet2d, 3, 2, 8, 2, bilinear=True, align_corners=False), (1, 3, 32, 48), "stem.0"
    ),
    "c3d": _small(partial(c3d.C3D, 8, 64, 10, 32), (1, 3, 16, 32, 32), "conv1"),
    "r3d_18": _small(partial(video_resnet.r3d_18, 8, 10), (1, 3, 8, 32, 32), "stem.0"),
    "r2plus1d_18": _small(partial(video_resnet.r2plus1d_18, 8, 10), (1, 3, 8, 32, 32), "stem.0"),
    "unet3d": _small(partial(unet.UNet3d, 1, 3, 4, 2), (1, 1, 8, 32, 32), "down.0.0"),
}

#: The networks as published: factory and input shape.
PUBLISHED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (resnet.ResNet18, (1, 3, 224, 224)),
    "mobilenet_v2": (mobilenet.MobileNetV2, (1, 3, 224, 224)),
    "mobilenet_v3_small": (mobilenet.mobilenet_v3_small, (1, 3, 224, 224)),
    "mobilenet_v3_large": (mobilenet.mobilenet_v3_large, (1, 3, 224, 224)),
    "efficientnet_b0": (efficientnet.EfficientNet, (1, 3, 224, 224)),
    "unet2d": (unet.UNet2d, (1, 3, 512, 512)),
    "unet2d_bilinear": (partial(unet.UNet2d, 3, 1, bilinear=True), (1, 3, 512, 512)),
    "c3d": (c3d.C3D, (1, 3, 16, 112, 112)),
    "r3d_18": (video_resnet.r3d_18, (1, 3, 16, 112, 112)),
    "r2plus1d_18": (video_resnet.r2plus1d_18, (1, 3, 16, 112, 112)),
    "unet3d": (unet.UNet3d, (1, 3, 64, 64, 64)),
}
