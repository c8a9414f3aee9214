"""What the rounded outputs are worth: signal-to-noise ratio on held-out inputs, and agreement of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdedge_exporters.quantize.report import sqnr_db
from tdedge_runtimes.client import run_job
from tdedge_runtimes.session import open_session

Outputs = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Quality:
    """Outputs beside those of the float32 network.

    Attributes:
        sqnr_db: energy of the outputs over that of the error, all samples together; None without any error.
        agreement: share of the samples with the same largest output.
    """

    sqnr_db: float | None
    agreement: float


def outputs(
    runtime: str, path: Path, feeds: Sequence[Mapping[str, NDArray[Any]]], *, foreign: bool = False
) -> list[NDArray[Any]]:
    """The first output of a file for every feed, in float64, flat.

    A foreign file, which might end its process, is run in a process of its own first.

    Raises:
        RuntimesError: the file cannot be run.
    """
    if foreign:
        run_job({"kind": "memory", "model": {"path": str(path), "runtime": runtime}, "runs": 1})
    with open_session(runtime, path, threads=1) as session:
        first = session.outputs[0].name
        found = []
        for feed in feeds:
            (array,) = feed.values()
            result = session.run({session.inputs[0].name: array})[first]
            found.append(np.asarray(result, np.float64).ravel())
    return found


def quality(exact: Outputs, rounded: Outputs) -> Quality:
    """Rounded outputs against exact ones, both a flat array per sample."""
    signal = sum(float((one**2).sum()) for one in exact)
    noise = sum(float(((one - other) ** 2).sum()) for one, other in zip(exact, rounded, strict=True))
    same = [int(one.argmax()) == int(other.argmax()) for one, other in zip(exact, rounded, strict=True)]
    return Quality(sqnr_db(signal, noise), sum(same) / len(same))
