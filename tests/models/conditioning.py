"""Weights on which a parity check can fail: every layer's output of order 1 and dependent on the input.

Torch's own initialisation leaves batch norms that do nothing, and networks without them that fade out. Here a
network is walked on seeded inputs: convolutions and Linear layers are scaled to outputs of standard deviation
1 and get small random biases; batch norms get the statistics of what really flows into them, off by some, and
random scales and offsets. Where there are none, the biases take a share of the means away: with none of it
gone, what an output owes to the input would fade from layer to layer beside what it owes to the biases; with
all of it gone, every layer would subtract large numbers and float32 itself would not agree to 1e-5.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tdedge.modules import ChainLayer

_WEIGHTED = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear, ChainLayer)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_CENTRED = 0.15  # share of the mean
_BATCH = {4: 32, 5: 16}  # by axes: with fewer, gates and batch norms fit these inputs only


def conditioned(make: Callable[[], nn.Module], shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    """The network that ``make`` builds, in evaluation mode, on inputs of ``shape`` (batch 1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make().eval()
        for layer in net.modules():
            if isinstance(layer, _NORMS):
                nn.init.uniform_(layer.weight, 0.6, 1.4)
                nn.init.normal_(layer.bias, 0.0, 0.3)
    condition(net, shape, seed)
    return net


def condition(net: nn.Module, shape: tuple[int, ...], seed: int = 0) -> None:
    """Scale weights and set batch norms in place; after decomposing, this makes up for what was lost."""
    generator = torch.Generator().manual_seed(seed)
    centre = not any(isinstance(layer, _NORMS) for layer in net.modules())

    def scale(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        last = layer.factors[-1] if isinstance(layer, ChainLayer) else layer
        per_channel = (-1,) + (1,) * (output.dim() - 2)
        if last.bias is None:
            factor = _inverse(output.std())
            last.weight *= factor
            return output * factor
        linear = output - last.bias.reshape(per_channel)
        mean = _CENTRED * _by_channel(linear).mean(1) if centre else torch.zeros_like(last.bias)
        factor = _inverse((linear - mean.reshape(per_channel)).std())
        last.weight *= factor
        last.bias.copy_(0.1 * torch.randn(mean.shape, generator=generator) - factor * mean)
        return factor * linear + last.bias.reshape(per_channel)

    def estimate(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen = _by_channel(inputs[0])
        variance = seen.var(1)
        variance = variance.clamp(min=0.01 * float(variance.mean()))
        drawn = torch.rand(variance.shape, generator=generator)
        norm.running_var = variance * (0.7 + 0.6 * drawn)
        shift = 0.2 * torch.randn(variance.shape, generator=generator)
        norm.running_mean = seen.mean(1) + shift * variance.sqrt()

    handles = []
    for layer in net.modules():
        if isinstance(layer, _WEIGHTED):
            handles.append(layer.register_forward_hook(scale))
        elif isinstance(layer, _NORMS):
            handles.append(layer.register_forward_pre_hook(estimate))
    try:
        with torch.no_grad():
            net(torch.randn((_BATCH[len(shape)], *shape[1:]), generator=generator))
    finally:
        for handle in handles:
            handle.remove()


def _by_channel(x: Tensor) -> Tensor:
    """(N, C, ...) -> (C, everything else)."""
    return x.transpose(0, 1).flatten(1)


def _inverse(deviation: Tensor) -> Tensor:
    """1 over it, or 1 for a chain whose activated links of one channel never fire."""
    return torch.where(deviation > 1e-6, 1 / deviation, 1.0)
