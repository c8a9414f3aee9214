"""Random weights that keep every activation near unit scale, so that nothing vanishes or overflows.

Numbers that fade into the denormal range would make the clock tell something about arithmetic on denormals.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def initialise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Seeded weights after He et al. 2015 (arXiv 1502.01852); evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.normal_(layer.bias, std=0.05)
            elif isinstance(layer, _NORMS):
                nn.init.uniform_(layer.weight, 0.7, 1.3)
                nn.init.normal_(layer.bias, std=0.1)
    return network.eval()


def calibrate(network: nn.Module, shape: tuple[int, ...], seed: int = 0) -> None:
    """Set the statistics of every batch norm to those of one random input, in place."""
    norms = [layer for layer in network.modules() if isinstance(layer, _NORMS)]
    if not norms:
        return
    generator = torch.Generator().manual_seed(seed)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        network(torch.randn(shape, generator=generator))
    network.eval()


def example(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """A seeded input."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
