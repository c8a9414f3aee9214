"""The networks of the cases, and the inputs they are calibrated and judged on.

Networks with random weights take seeded standard normal inputs, others their own data: calibration samples
from those to learn from, without labels, held-out ones from those for testing. A trained network is
decomposed, then reconstructed on data without labels; it is not tuned.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.int8.cases import TRAINED, is_trained
from benchmarks.peers.environment import cache_folder
from benchmarks.ranks.networks import NETWORKS
from benchmarks.ranks.points import reconstructed, trained
from benchmarks.realisation import networks as random_networks
from benchmarks.realisation.cases import Case
from examples.tasks import Data
from tdedge.compress import compress
from tdedge.plan import CompressionPlan, LayerRule
from tdedge.progress import SILENT
from tdedge_exporters.inputs import random_inputs

Feed = Mapping[str, NDArray[np.float32]]

_SEED = 0
#: (for calibration, held out) of random inputs, and of data.
RANDOM_SAMPLES, DATA_SAMPLES = (8, 8), (32, 64)


@dataclass(frozen=True)
class Samples:
    """Feeds of one network.

    Attributes:
        calibration: what it is quantised on.
        held_out: what it is judged on.
    """

    calibration: Sequence[Feed]
    held_out: Sequence[Feed]


def dense(network: str) -> nn.Module:
    """The dense network of a name, its weights random or trained."""
    if not is_trained(network):
        return random_networks.dense(network)
    name = TRAINED[network]
    return trained(name, _SEED, _data(name), cache_folder() / "ranks", SILENT)


def decomposed(case: Case) -> nn.Module:
    """The network of a case.

    Raises:
        UsageError: no layer can be decomposed so.
    """
    if not is_trained(case.network):
        return random_networks.decomposed(case)
    name = TRAINED[case.network]
    whole = dense(case.network)
    rule = LayerRule(format=case.format, ratio=float(Fraction(case.rank)))
    small = copy.deepcopy(whole)
    inputs = _data(name).inputs
    compress(small, CompressionPlan(keep=NETWORKS[name].keep, default=rule), example=inputs[:1])
    reconstructed(small, whole, inputs, _SEED)
    return small.eval()


def samples(network: str, model: ir.Model) -> Samples:
    """Feeds of ``model``, the graph of this network; the same every time."""
    if not is_trained(network):
        calibration, held_out = RANDOM_SAMPLES
        return Samples(random_inputs(model, 0, calibration), random_inputs(model, 1, held_out))
    data, name = _data(TRAINED[network]), str(model.graph.inputs[0].name)
    most, tests = DATA_SAMPLES
    order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(_SEED))
    return Samples(_feeds(name, data.inputs[order[:most]]), _feeds(name, data.test_inputs[:tests]))


def _feeds(name: str, inputs: Tensor) -> list[Feed]:
    return [{name: np.ascontiguousarray(one[None].numpy())} for one in inputs]


@lru_cache(maxsize=1)
def _data(name: str) -> Data:
    return NETWORKS[name].load(_SEED)
