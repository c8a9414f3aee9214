"""What an option costs in accuracy, as a number that adds up over layers.

From the weights alone: a layer whose kernel W becomes W' has the relative error ``e = |W - W'|_F / |W|_F``.
For white inputs of unit variance its outputs have variance ``g = |W|_F^2 / C_out``, the layer's gain, and an
error of ``e^2 g``. Beside a trunk of unit variance, as a residual branch stands, that is the share

    loss = e^2 g / (1 + g)

of the sum; errors of different layers are taken as independent, so that losses add. From calibration data
the error is that of the layer's outputs instead, ``e^2 = |(W - W') X|^2 / |W X|^2``, with the second moment
of the layer's input patches; from the user's metric the loss is the drop it sees, scaled to other ranks by
``e^2``.

Source: errors of layers as independent noise, Zhou et al. 2018, AAAI 32(1), "Adaptive Quantization for Deep
Neural Network"; output error as the measure, Zhang et al. 2016, IEEE TPAMI 38(10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tdedge import formats
from tdedge.chain import Chain
from tdedge.compress import LayerSite
from tdedge.factor import Array, Factor
from tdedge.progress import SILENT, Progress, track
from tdedge.ranks.options import Option

#: Squared relative error of a chain against the dense layer it stands for.
SquaredError = Callable[[str, Factor, Chain], float]
#: What a chain loses that does not approximate the dense layer at all (activated links).
UNRELATED = 1.0


def gain(dense: Factor) -> float:
    """Variance of the outputs for white inputs of unit variance."""
    return float(np.square(dense.kernel, dtype=np.float64).sum() / dense.out_channels)


def weight_error(name: str, dense: Factor, chain: Chain) -> float:
    """Squared relative error of the kernel, from 0 to about 1; an activated chain counts as unrelated."""
    del name
    return chain.relative_error(dense) ** 2 if chain.is_linear else UNRELATED


def moment_error(moments: Mapping[str, Array]) -> SquaredError:
    """Squared relative error of the outputs, from the second moments of the inputs.

    Args:
        moments: layer -> (P, P), P = C_in / groups * taps in the order of the flattened kernel, summed or
            averaged over patches; or (C_in / groups, C_in / groups), of the channels alone; with one more
            axis in front for the groups of a grouped layer. See
            :func:`tdedge.training.activations.input_moments`.
    """

    def error(name: str, dense: Factor, chain: Chain) -> float:
        if name not in moments or not chain.is_linear:
            return weight_error(name, dense, chain)
        kernel = dense.kernel.astype(np.float64)
        change = kernel - chain.reconstruct()
        whole = _energy(kernel, moments[name])
        return _energy(change, moments[name]) / whole if whole > 0 else 0.0

    return error


def option_errors(
    sites: Mapping[str, LayerSite],
    options: Mapping[str, Sequence[Option]],
    error: SquaredError = weight_error,
    progress: Progress = SILENT,
) -> dict[str, list[float]]:
    """Squared relative error of every option of every layer; every one is decomposed for it.

    Args:
        sites: the layers.
        options: layer -> its options.
        error: of a chain; 0 for a dense layer.
        progress: told about every layer.
    """
    found = {}
    items = [(name, name) for name in sites]
    for name in track(items, progress, "Weigh ranks", len(items)):
        dense = sites[name].factor
        found[name] = [
            0.0 if option.is_dense else error(name, dense, _chain(dense, option)) for option in options[name]
        ]
    return found


def gain_scales(sites: Mapping[str, LayerSite]) -> dict[str, float]:
    """Loss per squared error of each layer, from its weights alone: ``g / (1 + g)``."""
    gains = {name: gain(site.factor) for name, site in sites.items()}
    return {name: own / (1 + own) for name, own in gains.items()}


def scaled(errors: Mapping[str, Sequence[float]], scales: Mapping[str, float]) -> dict[str, list[float]]:
    """Layer -> option -> loss."""
    return {name: [scales[name] * value for value in values] for name, values in errors.items()}


def metric_scales(
    errors: Mapping[str, Sequence[float]], drop: Callable[[str, int], float], least: float
) -> dict[str, float]:
    """Loss per squared error of each layer, from what the user's metric sees of one option alone.

    Args:
        errors: layer -> option -> squared error.
        drop: what the metric loses when only this layer takes this option: (layer, option).
        least: what a layer is taken to lose where the metric sees nothing, or a gain: its resolution.

    The option is the one whose squared error is nearest a quarter: large enough to be seen, small enough to
    be in proportion.
    """
    scales = {}
    for name, values in errors.items():
        lossy = [index for index, value in enumerate(values) if value > 0]
        if not lossy:
            scales[name] = 0.0
            continue
        index = min(lossy, key=lambda i: abs(values[i] - 0.25))
        scales[name] = max(drop(name, index), least) / values[index]
    return scales


def _chain(dense: Factor, option: Option) -> Chain:
    return formats.get(option.format).decompose(dense, option.ranks)


def _energy(kernel: Array, moments: Array) -> float:
    """``sum_o k_o^T M k_o`` over the rows of the kernel; a moment of channels holds for every tap."""
    parts = moments if moments.ndim == 3 else moments[None]
    return float(sum(map(_group_energy, np.split(kernel, len(parts)), parts)))


def _group_energy(kernel: Array, moment: Array) -> float:
    flat = kernel.reshape(kernel.shape[0], -1)
    if flat.shape[1] != moment.shape[0]:
        flat = np.moveaxis(kernel, 1, -1).reshape(-1, kernel.shape[1])
    return float(np.sum((flat @ moment) * flat))
