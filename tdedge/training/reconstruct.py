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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.modules import DENSE_LAYERS, ChainLayer, factor_of, geometry_of
from tdedge.progress import SILENT, Progress, track
from tdedge.training.balance import balanced
from tdedge.training.batch_norm import recalibrate_batch_norm as recalibrate_batch_norm
from tdedge.training.captures import Batch, batched, batches, calls, evaluating, inputs_of, outputs_of
from tdedge.training.local_fit import RIDGES, chosen_ridge, fit, prior_of
from tdedge.training.moments import Moments, sampled
from tdedge.training.subchains import SubChain, linear_end

#: A layer of the compressed network and the one of the dense network it stands for.
_Pair = tuple[nn.Module, nn.Module]
#: Widest patch, in numbers, on any link of what is fitted at once; its moments take 8 bytes times its square.
WIDEST = 6144
#: Positions whose patches count: at least so many, and so many per number of a patch; all where fewer.
_LEAST_ROWS, _ROWS_PER_COLUMN = 32768, 16
_FOLDS = 4  # one of four batches is held out to choose the ridge
_KEPT_BYTES = 256 << 20  # of a layer's inputs and targets, kept between the two passes over them


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
            factor: what the chains in front lose, they repair. False leaves them alone.
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
    pairs = _pairs(compressed, dense, kept_layers)
    rows = []
    with evaluating(compressed, dense):
        counts = calls(compressed, {name: chain for name, (chain, _) in pairs.items()}, parts[0])
        first = next(index for index, name in enumerate(counts) if isinstance(pairs[name][0], ChainLayer))
        counts = dict(list(counts.items())[first:])
        expected = calls(dense, {name: layer for name, (_, layer) in pairs.items()}, parts[0])
        for name in track([(name, name) for name in counts], progress, "Reconstruct", len(counts)):
            chain, layer = pairs[name]
            if expected.get(name) != counts[name]:
                raise UsageError(
                    f"layer {name!r}: called {counts[name]} times in the compressed network and "
                    f"{expected.get(name, 0)} times in the dense one; expected the same network"
                )
            data = _Data(compressed, dense, chain, layer, parts, counts[name])
            rows.append(_reconstruct_layer(name, chain, layer, data, ridge, sweeps))
    return ReconstructionReport(tuple(rows))


def _pairs(compressed: nn.Module, dense: nn.Module, kept_layers: bool) -> dict[str, _Pair]:
    layers = dict(dense.named_modules())
    pairs = {
        name: (layer, layers[name])
        for name, layer in compressed.named_modules()
        if isinstance(layers.get(name), DENSE_LAYERS)
        and (isinstance(layer, ChainLayer) or (kept_layers and _is_plain(layer)))
    }
    if not any(isinstance(layer, ChainLayer) for layer, _ in pairs.values()):
        raise UsageError(
            "no chain of the compressed network stands where the dense one has a Conv or Linear layer; "
            "give a copy of the network made before compress()"
        )
    owners = Counter(id(p) for m in compressed.modules() for p in m.parameters(recurse=False))
    return {
        name: (layer, original)
        for name, (layer, original) in pairs.items()
        if all(owners[id(p)] == 1 for p in layer.parameters())
    }


def _is_plain(layer: nn.Module) -> bool:
    """Whether a dense layer computes what a factor does."""
    return (
        type(layer) in DENSE_LAYERS
        and getattr(layer, "padding_mode", "zeros") == "zeros"
        and not parametrize.is_parametrized(layer)
    )


@dataclass
class _Data:
    """Inputs of a chain and outputs of the dense layer, batch by batch; kept where they are small."""

    compressed: nn.Module
    dense: nn.Module
    chain: nn.Module
    layer: nn.Module
    batches: list[Batch]
    count: int

    def __post_init__(self) -> None:
        self._kept: list[list[tuple[Tensor, Tensor]]] = []
        self._bytes = 0

    def __iter__(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        yield from self._kept
        for batch in self.batches[len(self._kept) :]:
            x = inputs_of(self.compressed, self.chain, batch, self.count)
            y = outputs_of(self.dense, self.layer, batch, self.count)
            axes = len(getattr(self.layer, "kernel_size", ()))
            pairs = [(batched(a, axes), batched(b, axes)) for a, b in zip(x, y, strict=True)]
            self._bytes += sum(t.numel() * t.element_size() for pair in pairs for t in pair)
            if self._bytes <= _KEPT_BYTES:
                self._kept.append(pairs)
            yield pairs


class _Errors:
    """Squared errors and the spread of the targets, summed."""

    def __init__(self) -> None:
        self.squares = 0.0
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.total = 0.0

    def add(self, outputs: Tensor, targets: Tensor, axes: int) -> None:
        y = (
            (targets.movedim(1, -1) if axes else targets)
            .reshape(-1, targets.shape[1 if axes else -1])
            .double()
        )
        self.squares += float((outputs.double() - targets.double()).square().sum())
        self.count += len(y)
        self.sum = self.sum + y.sum(0)
        self.total += float(y.square().sum())

    @property
    def relative(self) -> float:
        mean = float(torch.as_tensor(self.sum).square().sum()) / max(self.count, 1)
        spread = self.total - mean
        return math.sqrt(self.squares / spread) if spread > 0 else math.sqrt(self.squares)


def _reconstruct_layer(
    name: str, layer: nn.Module, dense: nn.Module, data: _Data, ridge: float | None, sweeps: int
) -> LayerReconstruction:
    chain = layer.to_chain() if isinstance(layer, ChainLayer) else Chain((factor_of(layer),), "dense")
    device = next(layer.parameters()).device
    part = linear_end(chain, WIDEST, device)
    axes = chain.factors[0].spatial_rank
    if part is None:
        before = _error(layer, data, axes)
        reason = f"its last factor is activated, or its patches are wider than {WIDEST} numbers"
        return _row(name, chain, 0, before, before, None, 0, reason)
    folds, before = _moments(part, layer, data)
    if not math.isfinite(before):
        raise UsageError(f"layer {name!r}: its activations are not finite; check the calibration data")
    priors = prior_of(part, geometry_of(dense).kernel)
    known, held_out = folds
    strength = ridge
    if strength is None:
        strength = chosen_ridge(part, known, held_out, priors) if held_out.count else RIDGES[3]
    found = fit(part, known.plus(held_out), priors, strength, sweeps)
    fitted = len(chain) - part.start
    old = [parameter.detach().clone() for parameter in layer.parameters()]
    _write(layer, found.chain(part), part.start)
    after = _error(layer, data, axes)
    if after < before:
        return _row(name, chain, fitted, before, after, strength, found.sweeps, "")
    for parameter, value in zip(layer.parameters(), old, strict=True):
        parameter.copy_(value)
    return _row(
        name, chain, fitted, before, before, strength, found.sweeps, "kept: no fit had a smaller error"
    )


def _row(
    name: str,
    chain: Chain,
    fitted: int,
    before: float,
    after: float,
    ridge: float | None,
    sweeps: int,
    why: str,
) -> LayerReconstruction:
    return LayerReconstruction(name, chain.format, len(chain), fitted, before, after, ridge, sweeps, why)


def _moments(part: SubChain, layer: nn.Module, data: _Data) -> tuple[tuple[Moments, Moments], float]:
    """Moments of what the fitted part sees, (known, held out), and the error of the chain as it is."""
    errors = _Errors()
    geometry = part.geometry
    device = next(layer.parameters()).device
    folds = [Moments.zeros(geometry, device), Moments.zeros(geometry, device)]
    wanted = max(_LEAST_ROWS, _ROWS_PER_COLUMN * int(geometry.kernel[0].size))
    for index, pairs in enumerate(data):
        for x, y in pairs:
            errors.add(layer(x), y, geometry.spatial_rank)
            for factor in _factors(layer)[: part.start]:
                x = factor(x)
            positions = y.numel() // geometry.out_channels
            share = wanted / (positions * len(data.batches) * len(pairs))
            chosen = sampled(positions, share, seed=index)
            fold = int(index % _FOLDS == _FOLDS - 1)
            folds[fold] = folds[fold].add(geometry, x, y, None if chosen is None else chosen.to(device))
    return (folds[0], folds[1]), errors.relative


def _error(layer: nn.Module, data: _Data, axes: int) -> float:
    errors = _Errors()
    for pairs in data:
        for x, y in pairs:
            errors.add(layer(x), y, axes)
    return errors.relative


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
