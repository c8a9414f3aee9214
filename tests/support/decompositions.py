"""The acceptance networks decomposed in every format, at ranks whose fits take about a second."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from models.catalogue import NETWORKS
from models.conditioning import condition
from torch import nn

from tdedge.compress import CompressionReport, compress
from tdedge.formats import FORMATS
from tdedge.plan import CompressionPlan, LayerRule

#: Networks whose layers, but for the first, have one tap or are depthwise.
WITHOUT_TAPS = ("mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0")

#: Pairs whose layers all become ``svd``, having no taps to decompose: one network under several names. There
#: is no pair without any decomposed layer.
ALL_SVD = frozenset((name, fmt) for name in WITHOUT_TAPS for fmt in FORMATS if fmt not in ("svd", "ntt"))

#: Every pair that differs from the others.
PAIRS = [(name, fmt) for name in NETWORKS for fmt in FORMATS if (name, fmt) not in ALL_SVD]

#: Pairs that start from random kernels: their many layers of three modes or more take seconds to fit.
SCRATCH = frozenset({("r3d_18", "cp"), ("r2plus1d_18", "cp"), ("r2plus1d_18", "kcp")})

#: Ranks as a share of the channels; alternating least squares takes as long as its rank is high.
RATIO = 0.4
RATIO_OF_FITTED = {"cp": 0.2, "kcp": 0.2}


@dataclass(frozen=True)
class Decomposed:
    """A decomposed network in evaluation mode, an input for it and what became of every layer."""

    module: nn.Module
    example: torch.Tensor
    report: CompressionReport

    @property
    def formats(self) -> set[str]:
        """Formats of the layers that were decomposed."""
        return {row.format for row in self.report.rows if row.format is not None}


def plan_for(name: str, fmt: str) -> CompressionPlan:
    """Every layer of the network but the first in format ``fmt``."""
    rule = LayerRule(
        format=fmt,
        ratio=RATIO_OF_FITTED.get(fmt, RATIO),
        init="scratch" if (name, fmt) in SCRATCH else "decompose",
    )
    return CompressionPlan(keep=(NETWORKS[name].first_layer,), default=rule)


def decomposed(name: str, fmt: str) -> Decomposed:
    """The network, decomposed and conditioned anew: the batch norms' statistics are those of the chains.

    Relative errors of the report are those of the chains before their scale was changed.
    """
    network = NETWORKS[name]
    module = network.factory()
    example = torch.randn(network.input_shape, generator=torch.Generator().manual_seed(1))
    report = compress(module, plan_for(name, fmt), example=example)
    condition(module, network.input_shape)
    result = Decomposed(module, example, report)
    assert ("svd" if (name, fmt) in ALL_SVD else fmt) in result.formats
    return result


def tapped_layers(name: str) -> Iterator[str]:
    """Names of the convolutions, but the first, with taps and with channels to decompose."""
    for layer, module in NETWORKS[name].factory().named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and layer != NETWORKS[name].first_layer:
            depthwise = module.groups > 1 and module.weight.shape[1] == 1
            if max(module.kernel_size) > 1 and not depthwise:
                yield layer
