"""What is measured: the cases of the realisation benchmark, and networks that were trained and decomposed.

Weights of the first are random: nothing is left to equalise in their chains, whose channels are all alike.
The others were trained here, on data made or bundled here; their factors have channels of different ranges.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.model_zoo.catalogue import ZOO
from benchmarks.realisation.cases import SMALL_NETWORKS, Case, Selection

#: Name of a trained network here -> its name in the benchmark of ranks.
TRAINED = {"trained-resnet": "resnet", "trained-r3d": "r3d"}
_FORMATS, _RANKS = ("tucker", "tt", "cp"), ("1/2", "1/4")
#: Decomposed networks of trained weights.
TRAINED_CASES = tuple(
    Case(network, fmt, rank) for network in TRAINED for fmt in _FORMATS for rank in _RANKS
)  # fmt: skip
#: Signal-to-noise ratio that is asked for, by axes of the network.
SQNR_DB = {3: 30.0, 2: 35.0}
_SHAPES = {"resnet": (1, 1, 32, 32), "r3d": (1, 4, 14, 32, 44)}


def chosen(selection: Selection, *, quick: bool) -> list[Case]:
    """The chosen cases; a quick run has the small networks and THETIS."""
    if quick:
        networks = selection.networks or (*SMALL_NETWORKS, "thetis")
        return replace(selection, networks=networks).cases(quick=True)
    return [*selection.cases(quick=False), *(case for case in TRAINED_CASES if selection.has(case))]


def is_trained(network: str) -> bool:
    """Whether a network learnt something."""
    return network in TRAINED


def shape_of(network: str) -> tuple[int, ...]:
    """Shape of a network's input, batch 1."""
    if is_trained(network):
        return _SHAPES[TRAINED[network]]
    return ZOO[network].shape


def axes(network: str) -> int:
    """2 for images, 3 for clips."""
    return len(shape_of(network)) - 2
