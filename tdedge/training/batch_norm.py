"""Batch-normalisation statistics re-estimated on data, without labels and without gradients.

Compression changes the distribution of what a normalisation sees; its running mean and variance are those of
the dense network. With per-batch means m and variances v they become

    mean = avg(m),    var = avg(v) + avg((m - mean)^2)

(the law of total variance; batches weighted by their size). Every normalisation uses the statistics of the
current batch meanwhile, as in training.

Not after a local reconstruction: its layers were fitted to what the normalisations give as they are.

Source: "precise BN", Wu and Johnson 2021 (arXiv 2105.07576), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tdedge.torch_layers import evaluating
from tdedge.training.captures import batches, to_device_of

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def recalibrate_batch_norm(
    module: nn.Module, calibration: Tensor | Sequence[Tensor], *, batch_size: int = 64
) -> int:
    """Re-estimate the running statistics of every batch normalisation of ``module``, in place.

    Dropout and everything else stays in evaluation mode; modes are restored.

    Args:
        module: the network.
        calibration: (N, ...) inputs, or a sequence of them where the network takes several.
        batch_size: samples per forward pass; a last single one is left out where there are more.

    Returns:
        The number of normalisations.

    Raises:
        UsageError: when there are no samples.
    """
    norms = [child for child in module.modules() if isinstance(child, _NORMS) and child.track_running_stats]
    parts = batches(calibration, batch_size)
    parts = [part for part in parts if len(part[0]) > 1] or parts
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    total = float(sum(len(part[0]) for part in parts))
    means = [torch.zeros_like(_mean(norm), dtype=torch.float64) for norm in norms]
    squares = [torch.zeros_like(mean) for mean in means]
    with evaluating(module):
        try:
            for norm in norms:
                norm.train()
                norm.momentum = 1.0  # the running statistics are those of the last batch
            for part in parts:
                module(*to_device_of(module, part))
                share = len(part[0]) / total
                for norm, mean, square in zip(norms, means, squares, strict=True):
                    own = _mean(norm).double()
                    mean += share * own
                    square += share * (_variance(norm).double() + own.square())
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        for norm, mean, square in zip(norms, means, squares, strict=True):
            _mean(norm).copy_(mean)
            _variance(norm).copy_((square - mean.square()).clamp_min(0))
    return len(norms)


def _mean(norm: nn.Module) -> Tensor:
    assert isinstance(norm.running_mean, Tensor)
    return norm.running_mean


def _variance(norm: nn.Module) -> Tensor:
    assert isinstance(norm.running_var, Tensor)
    return norm.running_var
