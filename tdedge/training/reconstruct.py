"""Local reconstruction: a compressed network follows the dense one again, layer by layer, without labels.

For every chain, in the order in which the network calls them, the kernels and the bias are chosen that

    minimise  sum over positions | chain(x') - y |^2

where y is the dense layer's output in the *dense* network and x' the chain's input in the *compressed*
network, whose earlier chains are reconstructed already (the error is *asymmetric*: a layer repairs what the
layers in front of it still get wrong). All a fit needs of the data are the moments of x' and y
(:mod:`tdedge.training.moments`), so memory does not grow with them. Which factors can be fitted:
:mod:`tdedge.training.subchains`; how: :mod:`tdedge.training.alternate`. Of a chain with activated links (NTT)
it is the last factor and the bias.

A layer is never left worse than it was on the calibration data: both errors are measured by running it.

Sources: He, Zhang, Sun 2017 (arXiv 1707.06168) and Zhang, Zou, He, Sun 2016 (arXiv 1505.06798).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.modules import ChainLayer, factor_of, geometry_of
from tdedge.progress import SILENT, Progress, track
from tdedge.torch_layers import evaluating
from tdedge.training.balance import balanced
from tdedge.training.batch_norm import recalibrate_batch_norm as recalibrate_batch_norm
from tdedge.training.captures import batches
from tdedge.training.local_fit import RIDGES, chosen_ridge, fit, prior_of
from tdedge.training.moments import Moments, sampled
from tdedge.training.pairs import Errors, PairData, called, find_pairs
from tdedge.training.subchains import SubChain, linear_end

#: Widest patch, in numbers, on any link of what is fitted at once; its moments take 8 bytes times its square.
WIDEST = 6144
#: Positions whose patches count: at least so many, and so many per number of a patch; all where fewer.
_LEAST_ROWS, _ROWS_PER_COLUMN = 32768, 16
_FOLDS = 4  # one of four batches is held out to choose the ridge


@dataclass(frozen=True)
class LayerReconstruction:
    """What became of one chain.

    Attributes:
        name: of the layer.
        format: of the chain.
        factors: of the chain.
        fitted: how many of them, from the last, were fitted; 0 where none could be.
        error_before: ``|chain(x') - y| / |y - mean(y)|`` over all calibration data, per-channel means.
        error_after: the same afterwards, never larger.
        ridge: strength of the pull to the dense kernel; None where nothing was fitted.
        sweeps: over the factors.
        reason: why nothing was fitted or changed; empty otherwise.
    """

    name: str
    format: str
    factors: int
    fitted: int
    error_before: float
    error_after: float
    ridge: float | None
    sweeps: int
    reason: str = ""


@dataclass(frozen=True)
class ReconstructionReport:
    """Every chain that stands for a dense layer, in the order of their calls."""

    rows: tuple[LayerReconstruction, ...]

    def to_json(self) -> dict[str, Any]:
        """The rows, as JSON."""
        return {"rows": [asdict(row) for row in self.rows]}


def reconstruct(
    compressed: nn.Module,
    dense: nn.Module,
    calibration: Tensor | Sequence[Tensor],
    *,
    batch_size: int = 32,
    ridge: float | None = None,
    sweeps: int = 20,
    kept_layers: bool = True,
    progress: Progress = SILENT,
) -> ReconstructionReport:
    """Fit the chains of ``compressed`` to the layers of ``dense``, in place, on unlabelled data.

    Two forward passes of both networks over the data per chain, none of them with gradients; modes are
    restored. Deterministic. A few hundred samples are enough for most networks.

    Args:
        compressed: the network after :func:`tdedge.compress.compress`.
        dense: a copy made before it; it is not changed.
        calibration: (N, ...) inputs, or a sequence of them where the network takes several.
        batch_size: samples per forward pass.
        ridge: how strongly kernels are pulled to the dense ones, as a share of the layer's mean squared
            input; None to choose it for every layer on a quarter of the data held out for that.
        sweeps: over the factors of a chain, at most; fewer where the error stands still.
        kept_layers: also fit the layers behind the first chain that stayed dense, which are chains of one
            factor: what the chains in front lose, they repair. Depthwise ones stay. False leaves all alone.
        progress: one step per layer.

    Raises:
        UsageError: when no chain stands where ``dense`` has a dense layer, or the data do not fit.
    """
    if ridge is not None and ridge < 0:
        raise UsageError(f"ridge {ridge!r}; expected at least 0, or None")
    if sweeps < 1:
        raise UsageError(f"sweeps {sweeps!r}; expected at least 1")
    samples = len(calibration if isinstance(calibration, Tensor) else calibration[0])
    parts = batches(calibration, min(batch_size, max(1, math.ceil(samples / (2 * _FOLDS)))))
    pairs = find_pairs(compressed, dense, kept_layers)
    rows = []
    with evaluating(compressed, dense):
        counts = called(compressed, dense, pairs, parts[0])
        for name in track([(name, name) for name in counts], progress, "Reconstruct", len(counts)):
            data = PairData(compressed, dense, *pairs[name], parts, counts[name])
            rows.append(_reconstruct_layer(name, data, ridge, sweeps))
    return ReconstructionReport(tuple(rows))


def _reconstruct_layer(name: str, data: PairData, ridge: float | None, sweeps: int) -> LayerReconstruction:
    layer = data.layer
    chain = layer.to_chain() if isinstance(layer, ChainLayer) else Chain((factor_of(layer),), "dense")
    part = linear_end(chain, WIDEST, next(layer.parameters()).device)
    if part is None:
        error = data.error()
        why = f"its last factor is activated, or its patches are wider than {WIDEST} numbers"
        return LayerReconstruction(name, chain.format, len(chain), 0, error, error, None, 0, why)
    (known, held_out), before = _moments(part, layer, data)
    if not math.isfinite(before):
        raise UsageError(f"layer {name!r}: its activations are not finite; check the calibration data")
    priors = prior_of(part, geometry_of(data.original).kernel)
    if ridge is None:
        ridge = chosen_ridge(part, known, held_out, priors) if held_out.count else RIDGES[3]
    found = fit(part, known.plus(held_out), priors, ridge, sweeps)
    old = [parameter.detach().clone() for parameter in layer.parameters()]
    _write(layer, found.chain(part), part.start)
    after, why = data.error(), ""
    if not after < before:
        after, why = before, "kept: no fit had a smaller error"
        for parameter, value in zip(layer.parameters(), old, strict=True):
            parameter.copy_(value)
    fitted = len(chain) - part.start
    return LayerReconstruction(
        name, chain.format, len(chain), fitted, before, after, ridge, found.sweeps, why
    )


def _moments(part: SubChain, layer: nn.Module, data: PairData) -> tuple[tuple[Moments, Moments], float]:
    """Moments of what the fitted part sees, (known, held out), and the error of the chain as it is."""
    errors = Errors(part.geometry.spatial_rank)
    geometry = part.geometry
    device = next(layer.parameters()).device
    folds = [Moments.zeros(geometry, device), Moments.zeros(geometry, device)]
    wanted = max(_LEAST_ROWS, _ROWS_PER_COLUMN * int(geometry.kernel[0].size))
    for index, pairs in enumerate(data):
        for x, y in pairs:
            errors.add(layer(x), y)
            for factor in _factors(layer)[: part.start]:
                x = factor(x)
            positions = y.numel() // geometry.out_channels
            share = wanted / (positions * len(data.batches) * len(pairs))
            chosen = sampled(positions, share, seed=index)
            fold = int(index % _FOLDS == _FOLDS - 1)
            folds[fold] = folds[fold].add(geometry, x, y, None if chosen is None else chosen.to(device))
    return (folds[0], folds[1]), errors.relative


def _factors(layer: nn.Module) -> list[nn.Module]:
    """The factors of a chain; a dense layer is its only one."""
    return list(layer.factors) if isinstance(layer, ChainLayer) else [layer]


def _write(layer: nn.Module, chain: Chain, start: int) -> None:
    """Kernels and biases of a chain into the layer's factors from ``start`` on, with even scales."""
    even = balanced(Chain(chain.factors[start:], chain.format))
    for module, factor in zip(_factors(layer)[start:], even, strict=True):
        for name, value in (("weight", factor.kernel), ("bias", factor.bias)):
            parameter = getattr(module, name)
            if parameter is not None:
                parameter.copy_(torch.tensor(value))
