"""Second moments of what the layers of a network see, for errors in the metric of the data.

A layer's output error, where a chain with kernel W' stands for the kernel W and sees the same input, is

    E |(W - W') x|^2  =  tr((W - W') M (W - W')'),        M = E[x x'],

so ``|(W - W') M^(1/2)| / |W M^(1/2)|`` is its relative output error: unlike ``|W - W'| / |W|`` it weighs
every direction by how much the data use it. x are input patches, channel first, as a kernel (T, S, *taps)
flattened to (T, S*L) meets them; zeros of the padding belong to them. Where patches are too wide M is taken
over the channels only, (S, S), as if the taps were uncorrelated and alike.

Source: the metric of the reconstruction error in Zhang, Zou, He, Sun 2016 (arXiv 1505.06798).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.modules import DENSE_LAYERS, geometry_of
from tdedge.torch_layers import evaluating
from tdedge.training.captures import batched, batches, to_device_of
from tdedge.training.moments import Moments, sampled

#: Patches wider than this, in numbers, are reduced to their channels.
WIDEST = 4608
#: Positions whose patches count: at least so many, and so many per number of a patch; all where fewer.
_LEAST_ROWS, _ROWS_PER_COLUMN = 16384, 4


def input_moments(
    module: nn.Module,
    calibration: Tensor | Sequence[Tensor],
    layers: Sequence[str],
    *,
    batch_size: int = 32,
) -> dict[str, NDArray[np.float64]]:
    """Second moment of the input patches of Conv and Linear layers, in one pass over the data.

    Deterministic; positions are drawn evenly where there are more than are needed. The module is left as it
    was. A layer that is never called has no entry.

    Args:
        module: the dense network.
        calibration: (N, ...) inputs, or a sequence of them where the network takes several.
        layers: names of Conv1d, Conv2d, Conv3d and Linear layers of ``module``.
        batch_size: samples per forward pass.

    Returns:
        Name -> M of one group, (S*L, S*L), or (S, S) where S*L > :data:`WIDEST`; (G, ..., ...) for a layer of
        G > 1 groups.

    Raises:
        UsageError: for a name that is no such layer, and where there are no samples.
    """
    found = {name: _layer(module, name) for name in layers}
    parts = batches(calibration, batch_size)
    seen: dict[str, Moments] = {}

    def note(name: str, geometry: Factor, x: Tensor, seed: int) -> None:
        x = batched(x.detach(), geometry.spatial_rank)
        lead = x.shape[:-1] if geometry.spatial_rank == 0 else geometry.output_shape(tuple(x.shape))
        positions = int(np.prod(lead)) // (1 if geometry.spatial_rank == 0 else geometry.out_channels)
        width = int(geometry.kernel[0].size)
        share = max(_LEAST_ROWS, _ROWS_PER_COLUMN * width) / (positions * len(parts))
        chosen = sampled(positions, share, seed)
        before = seen.get(name) or Moments.zeros(geometry, x.device)
        rows = torch.arange(positions) if chosen is None else chosen
        seen[name] = before.add_inputs(geometry, x, rows.to(x.device))

    handles, passed = [], [0]
    for name, layer in found.items():
        geometry = _reduced(geometry_of(layer))

        def hook(
            _: nn.Module, arguments: tuple[Tensor, ...], name: str = name, geometry: Factor = geometry
        ) -> None:
            note(name, geometry, arguments[0], passed[0])

        handles.append(layer.register_forward_pre_hook(hook))
    try:
        with evaluating(module):
            for index, part in enumerate(parts):
                passed[0] = index
                module(*to_device_of(module, part))
    finally:
        for handle in handles:
            handle.remove()
    return {name: _moment(seen[name]) for name in layers if name in seen}


def output_error(dense: Factor, chain: Chain, moment: NDArray[np.float64]) -> float:
    """``|(W - W') M^(1/2)| / |W M^(1/2)|`` of a linear chain of ``dense``; 0 where the layer sees only zeros.

    Args:
        dense: the layer.
        chain: what stands for it.
        moment: as :func:`input_moments` gives it for this layer.

    Raises:
        NotExactError: when a link of the chain is activated.
    """
    kernel = dense.kernel.astype(np.float64)
    gap = kernel - chain.astype(np.float64).reconstruct()
    whole = _energy(kernel, dense.groups, moment)
    return float(np.sqrt(_energy(gap, dense.groups, moment) / whole)) if whole > 0 else 0.0


def _energy(kernel: NDArray[np.floating], groups: int, moment: NDArray[np.float64]) -> float:
    """``tr(W M W')``, over groups; over taps too where M is of the channels."""
    parts = kernel.reshape(groups, kernel.shape[0] // groups, kernel.shape[1], -1)
    moments = moment.reshape(groups, *moment.shape[-2:])
    if moments.shape[-1] == kernel.shape[1]:
        rows = parts.swapaxes(2, 3).reshape(groups, -1, kernel.shape[1])
    else:
        rows = parts.reshape(groups, parts.shape[1], -1)
    return max(float(np.sum((rows @ moments) * rows)), 0.0)


def _reduced(geometry: Factor) -> Factor:
    """The layer itself, or one of single taps that reads every input position where patches are too wide."""
    if geometry.kernel[0].size <= WIDEST:
        return geometry
    ones = (1,) * geometry.spatial_rank
    channels = geometry.kernel.shape[:2]
    kernel = geometry.kernel.reshape(*channels, -1)[..., :1].reshape(*channels, *ones)
    return replace(geometry, kernel=kernel, stride=ones, dilation=ones, pads=((0, 0),) * len(ones))


def _moment(moments: Moments) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = moments.raw()[0].cpu().numpy()
    return matrix[0] if len(matrix) == 1 else matrix


def _layer(module: nn.Module, name: str) -> nn.Module:
    known = {key: child for key, child in module.named_modules() if isinstance(child, DENSE_LAYERS)}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or list(known)[:8]
        hint = ", ".join(near) or "(it has none)"
        raise UsageError(f"{name!r} is no Conv or Linear layer of the network; expected one like {hint}")
    return known[name]
