"""The data of int8 targets: samples to calibrate on, and others, held out, to judge the result on.

Samples come from the user's ``.npz`` file, one array per input, samples on its first axis. The last quarter
of them is held out. Seeded random inputs stand in where there are none: they tell nothing about real data,
and the manifest says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from tdedge.agreement import SQNR_FLOORS
from tdedge.cost import network_cost
from tdedge.errors import UsageError
from tdedge_exporters.inputs import Array, load_samples, random_inputs
from tdedge_exporters.lowering import Target
from tdedge_exporters.quantize.calibrate import split_samples

#: What is written in the place of a file to calibrate on random inputs.
RANDOM = "random"

#: Samples that are held out at most.
MOST_HELD_OUT = 16
#: Multiply-accumulates that are spent on evaluating them in float64: some minutes.
_MOST_MACS = 2e11


@dataclass(frozen=True)
class Calibration:
    """Samples, one feed of the network each.

    Attributes:
        samples: to calibrate on.
        held_out: to judge on; the same one where there is no other.
        warnings: what they cannot tell.
    """

    samples: Sequence[Mapping[str, Array]]
    held_out: Sequence[Mapping[str, Array]]
    warnings: tuple[str, ...] = ()


def check_calibration(targets: Sequence[Target], source: Path | str | None) -> None:
    """Refuse int8 without data, and data without anything to use them.

    Raises:
        UsageError: one of the two.
    """
    missing = [str(target) for target in targets if target.calibrated]
    if missing and source is None:
        raise UsageError(
            f"{missing[0]} needs data to find the ranges of activations: give --calibration FILE.npz (one "
            "array per input, samples on its first axis), or --calibration random to go without real data"
        )
    if source is not None and not any(target.precision in SQNR_FLOORS for target in targets):
        raise UsageError(
            "calibration data are for 8-bit targets: pass --int8, or a target such as onnxruntime:int8"
        )


def load_calibration(source: Path | str, model: ir.Model, most: int, seed: int = 0) -> Calibration:
    """The samples of a file, or random ones.

    Args:
        source: a ``.npz`` file, or :data:`RANDOM`.
        model: the network whose inputs they are.
        most: samples to calibrate on at most.
        seed: of random samples.

    Raises:
        UsageError: the file cannot be read, does not fit, or holds less than one batch.
    """
    warnings: tuple[str, ...] = ()
    if str(source) == RANDOM:
        feeds = random_inputs(model, seed, most + max(1, most // 3))
        warnings = (
            "calibrated on random inputs: ranges and signal-to-noise ratios are those of noise, the accuracy "
            "on real data is unknown",
        )
    else:
        feeds = split_samples(model, load_samples(Path(source), model))
    held_out = _held_out(len(feeds), model)
    if len(feeds) == 1:
        return Calibration(feeds, feeds, warnings)
    return Calibration(feeds[: len(feeds) - held_out][:most], feeds[len(feeds) - held_out :], warnings)


def _held_out(count: int, model: ir.Model) -> int:
    """A quarter, within bounds."""
    macs = max(1, network_cost(model).totals()["macs"])
    return max(1, min(count // 4, MOST_HELD_OUT, int(_MOST_MACS // macs)))
