"""The networks of the cases, and the inputs they are calibrated and judged on.

Networks with random weights take seeded standard normal inputs, THETIS the synthetic clips that its weights
are scaled for, those that were trained their own data: calibration samples and held-out ones are different
samples of the data for testing, whose noise is not that of the data to learn from, since a network is
calibrated on data like those that it will see. A trained network is decomposed, then reconstructed on data to
learn from, without labels; it is not tuned.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import onnx_ir as ir
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
from tdedge.networks import thetis
from tdedge.plan import CompressionPlan, LayerRule
from tdedge.progress import SILENT
from tdedge_exporters.inputs import random_inputs

Feed = Mapping[str, NDArray[np.float32]]

_SEED = 0
#: (for calibration, held out) of random inputs, fewer for networks that take long, and of data.
RANDOM_SAMPLES, FEWER_SAMPLES, DATA_SAMPLES = (32, 32), (8, 8), (32, 64)
#: Of synthetic clips: a few of them have most of the noise, and the ratio of 32 has a standard error of 0.9
#: to 1.5 dB.
CLIPS = (64, 128)
_LONG = ("c3d", "r3d18", "r2plus1d18", "vgg16")


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
    if network == "thetis":
        calibration, held_out = CLIPS
        return Samples(_clips(model, 0, calibration), _clips(model, 1, held_out))
    calibration, held_out = FEWER_SAMPLES if network in _LONG else RANDOM_SAMPLES
    if not is_trained(network):
        return Samples(random_inputs(model, 0, calibration), random_inputs(model, 1, held_out))
    data, name = _data(TRAINED[network]), str(model.graph.inputs[0].name)
    most, tests = DATA_SAMPLES
    inputs = data.test_inputs
    return Samples(_feeds(name, inputs[tests : tests + most]), _feeds(name, inputs[:tests]))


def _clips(model: ir.Model, seed: int, count: int) -> list[Feed]:
    (clips,) = thetis.example_inputs(seed, count)
    return _feeds(str(model.graph.inputs[0].name), clips)


def _feeds(name: str, inputs: Tensor) -> list[Feed]:
    return [{name: np.ascontiguousarray(one[None].numpy())} for one in inputs]


@lru_cache(maxsize=1)
def _data(name: str) -> Data:
    return NETWORKS[name].load(_SEED)
