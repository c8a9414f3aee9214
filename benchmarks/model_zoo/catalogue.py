"""The networks by name: factory, input, and the layers that stay dense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from benchmarks.model_zoo.c3d import C3D
from benchmarks.model_zoo.mobilenet import MobileNetV2
from benchmarks.model_zoo.resnet import r2plus1d18, r3d18, resnet18
from benchmarks.model_zoo.vgg import VGG16
from benchmarks.model_zoo.weights import calibrate, initialise
from benchmarks.networks import image_net, video_net
from tdedge.networks import thetis


@dataclass(frozen=True)
class ZooNetwork:
    """A network with seeded weights.

    Attributes:
        name: in tables.
        make: builds it, weights as they come.
        shape: of its input, batch 1.
        stem: names of the layers that read the few channels of the input; they stay dense.
        pointwise: whether pointwise convolutions are decomposed; they stay dense where others carry the cost.
        own_weights: the factory sets the weights itself.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    stem: tuple[str, ...] = ()
    pointwise: bool = False
    own_weights: bool = False

    def build(self) -> nn.Module:
        """The dense network in evaluation mode, the same weights every time."""
        network = self.make()
        if self.own_weights:
            return network.eval()
        initialise(network)
        calibrate(network, self.shape)
        return network


_CLIP = (1, 3, 16, 112, 112)
_IMAGE = (1, 3, 224, 224)

ZOO: dict[str, ZooNetwork] = {
    network.name: network
    for network in (
        ZooNetwork("thetis", thetis.dense, thetis.INPUT_SHAPE, own_weights=True),
        ZooNetwork("c3d", C3D, _CLIP, ("features.0",)),
        ZooNetwork("r3d18", r3d18, _CLIP, ("stem.0",)),
        ZooNetwork("r2plus1d18", r2plus1d18, _CLIP, ("stem.0",)),
        ZooNetwork("resnet18", resnet18, _IMAGE, ("stem.0",)),
        ZooNetwork("vgg16", VGG16, _IMAGE, ("features.0",)),
        ZooNetwork("mobilenetv2", MobileNetV2, _IMAGE, ("features.0",), pointwise=True),
        ZooNetwork("image_net", image_net, (1, 3, 96, 96), ("0",)),
        ZooNetwork("video_net", video_net, (1, 3, 8, 56, 56), ("0",)),
    )
}
