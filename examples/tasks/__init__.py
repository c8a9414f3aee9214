"""Tasks of the examples: data, a dense network that learns them, and what of it is compressed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from tdedge.plan import LayerRule
from tdedge.training.finetune import Settings


@dataclass(frozen=True)
class Data:
    """Samples to learn from, and others to test on.

    Attributes:
        inputs: (N, C, *spatial), float32.
        labels: (N,), int64.
        test_inputs: (M, C, *spatial), of samples that are not among ``inputs``.
        test_labels: (M,).
    """

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Task:
    """One example.

    Attributes:
        name: of the results.
        about: what the data and the network are, in sentences.
        load: seed -> data.
        network: seed -> the dense network with random weights.
        keep: names or globs of the layers that stay dense.
        dense: how the dense network is trained.
        tune: how a decomposed network is trained on.
        calibration: samples without labels for the local reconstruction.
        ridge: of the local reconstruction; None to choose it for every layer.
        sweeps: of the local reconstruction, at most.
        scratch: how a decomposed network is trained that starts from random weights; as the dense one where
            None.
        published: format -> ranks of a paper, layer by layer; other formats get ranks by their cost.
    """

    name: str
    about: str
    load: Callable[[int], Data]
    network: Callable[[int], nn.Module]
    keep: tuple[str, ...]
    dense: Settings
    tune: Settings
    calibration: int = 256
    ridge: float | None = None
    sweeps: int = 20
    scratch: Settings | None = None
    published: Mapping[str, Mapping[str, LayerRule]] = field(default_factory=dict)
