"""Layers of a compressed network beside those of the dense one, and the data that pass through both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tdedge.errors import UsageError
from tdedge.modules import DENSE_LAYERS, ChainLayer
from tdedge.training.captures import Batch, batched, calls, inputs_of, outputs_of

#: A layer of the compressed network, and the one of the dense network it stands for.
Pair = tuple[nn.Module, nn.Module]
_KEPT_BYTES = 256 << 20  # of a layer's inputs and targets, kept between passes over them


def find_pairs(compressed: nn.Module, dense: nn.Module, kept_layers: bool) -> dict[str, Pair]:
    """Chains where the dense network has a Conv or Linear layer, by name; and kept layers if asked for.

    Kept layers are plain Conv and Linear layers that are not depthwise. Layers that share a parameter with
    another one are left out.

    Raises:
        UsageError: when there is no such chain.
    """
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
        name: pair for name, pair in pairs.items() if all(owners[id(p)] == 1 for p in pair[0].parameters())
    }


def called(
    compressed: nn.Module, dense: nn.Module, pairs: Mapping[str, Pair], batch: Batch
) -> dict[str, int]:
    """How often each pair is called, in the network's order, from the first chain on.

    Raises:
        UsageError: when the two networks call a layer differently often, or no chain at all.
    """
    counts = calls(compressed, {name: layer for name, (layer, _) in pairs.items()}, batch)
    expected = calls(dense, {name: original for name, (_, original) in pairs.items()}, batch)
    for name, count in counts.items():
        if expected.get(name) != count:
            raise UsageError(
                f"layer {name!r}: called {count} times in the compressed network and "
                f"{expected.get(name, 0)} times in the dense one; expected the same network"
            )
    chains = [index for index, name in enumerate(counts) if isinstance(pairs[name][0], ChainLayer)]
    if not chains:
        raise UsageError("the forward pass of the compressed network calls none of its chains")
    return dict(list(counts.items())[chains[0] :])


@dataclass
class PairData:
    """Inputs of a compressed layer and outputs of the dense one, batch by batch; kept where small.

    Attributes:
        compressed: the network of ``layer``.
        dense: the network of ``original``.
        layer: a chain, or a layer that stayed dense.
        original: the dense layer.
        batches: the calibration data.
        count: calls of the layer in one forward pass.
    """

    compressed: nn.Module
    dense: nn.Module
    layer: nn.Module
    original: nn.Module
    batches: list[Batch]
    count: int

    def __post_init__(self) -> None:
        self._kept: list[list[tuple[Tensor, Tensor]]] = []
        self._bytes = 0

    def __iter__(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Per batch, (input, target) of every call."""
        yield from self._kept
        for batch in self.batches[len(self._kept) :]:
            x = inputs_of(self.compressed, self.layer, batch, self.count)
            y = outputs_of(self.dense, self.original, batch, self.count)
            axes = len(getattr(self.original, "kernel_size", ()))
            pairs = [(batched(a, axes), batched(b, axes)) for a, b in zip(x, y, strict=True)]
            self._bytes += sum(t.numel() * t.element_size() for pair in pairs for t in pair)
            if self._bytes <= _KEPT_BYTES:
                self._kept.append(pairs)
            yield pairs

    def error(self) -> float:
        """Relative output error of the layer as it is."""
        errors = Errors(len(getattr(self.original, "kernel_size", ())))
        for pairs in self:
            for x, y in pairs:
                errors.add(self.layer(x), y)
        return errors.relative


class Errors:
    """Squared errors of outputs, and the spread of their targets, summed over batches.

    Args:
        axes: spatial axes; channels are on axis 1 where there are any, else on the last.
    """

    def __init__(self, axes: int) -> None:
        self._axes = axes
        self._squares = 0.0
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._total = 0.0

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """A batch."""
        channels_last = targets.movedim(1, -1) if self._axes else targets
        y = channels_last.reshape(-1, channels_last.shape[-1]).double()
        self._squares += float((outputs.double() - targets.double()).square().sum())
        self._count += len(y)
        self._sum = self._sum + y.sum(0)
        self._total += float(y.square().sum())

    @property
    def relative(self) -> float:
        """``|outputs - targets| / |targets - their mean per channel|``."""
        spread = self._total - float(torch.as_tensor(self._sum).square().sum()) / max(self._count, 1)
        return math.sqrt(self._squares / spread if spread > 0 else self._squares)


def _is_plain(layer: nn.Module) -> bool:
    """Whether a dense layer computes what a factor does, and mixes channels."""
    return (
        type(layer) in DENSE_LAYERS
        and getattr(layer, "padding_mode", "zeros") == "zeros"
        and not parametrize.is_parametrized(layer)
        and not 1 < getattr(layer, "groups", 1) == getattr(layer, "in_channels", 0)
    )
