"""Measure one row: all files interleaved in one process, the planned one's memory in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.realisation.machine import mode_of, stream_scaling
from tdedge.errors import GateError
from tdedge_runtimes.client import measure_models, run_job
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.memory import baseline_suffix, own_memory
from tdedge_runtimes.session import open_session, random_inputs

#: Largest difference between the plain and the planned file, relative to the scale of the outputs.
TOLERANCE = 1e-4
#: Or so many times what the plain file's outputs move by when the last bits of its inputs change.
ROUNDINGS = 10
#: A run that other processes disturbed is made again so often; the quietest counts.
_AGAIN = 2


@dataclass(frozen=True)
class Timed:
    """One interleaved run; attributes as those of :class:`benchmarks.realisation.rows.Row`."""

    samples_ms: dict[str, list[list[float]]]
    foreign_cpu: float | None
    quiet: bool
    streams_gbs: tuple[tuple[float, float], ...]
    mode: str


def row_options(threads: int, *, quick: bool) -> MeasureOptions:
    """Few calls, because dense 3-D networks take a second each; at least ten of every file."""
    blocks, seconds = (5, 2.0) if quick else (10, 8.0)
    return MeasureOptions(
        threads=threads,
        warmup_calls=2,
        warmup_seconds=0.1,
        per_block=1,
        min_blocks=blocks,
        max_blocks=200,
        max_seconds=seconds,
        resamples=200,
    )


def time_files(files: Mapping[str, Path], runtime: str, options: MeasureOptions) -> Timed:
    """Latency of all files side by side.

    Raises:
        RuntimesError: a file cannot be measured.
    """
    best: Timed | None = None
    for _ in range(1 + _AGAIN):
        made = _time(files, runtime, options)
        if best is None or (made.foreign_cpu or 0.0) < (best.foreign_cpu or 0.0):
            best = made
        if best.quiet:
            break
    assert best is not None
    return best


def _time(files: Mapping[str, Path], runtime: str, options: MeasureOptions) -> Timed:
    probes = options.threads > 1
    streams = [stream_scaling(options.threads)] if probes else []
    specs = {label: {"path": str(path), "runtime": runtime} for label, path in files.items()}
    result = measure_models(specs, options, memory=False, timeout_s=1800.0)
    streams += [stream_scaling(options.threads)] if probes else []
    samples = {label: model["latency"]["samples_ms"] for label, model in result["models"].items()}
    return Timed(samples, result["foreign_cpu"]["value"], result["quiet"], tuple(streams), mode_of(streams))


def own_memory_bytes(path: Path, runtime: str, options: MeasureOptions) -> float | None:
    """Peak memory of a fresh process that runs the file, less that of a one-operator file.

    Raises:
        RuntimesError: the file cannot be run.
    """
    figures = _memory({"path": str(path), "runtime": runtime}, options)
    baseline = _memory({"baseline": baseline_suffix(path.suffix), "runtime": runtime}, options)
    value = own_memory(figures, baseline)["own_peak_rss_bytes"]["value"]
    return None if value is None else float(value)


def _memory(model: Mapping[str, str], options: MeasureOptions) -> dict[str, Any]:
    figures: dict[str, Any] = run_job({"kind": "memory", "model": model, "options": options.to_json()})[
        "model"
    ]["memory"]
    return figures


def parity(runtime: str, plain: Path, planned: Path) -> float:
    """Largest difference of the outputs on one random input, relative to their scale.

    Random chains with activations inside can be networks whose outputs no two correct files agree on to
    :data:`TOLERANCE`: R3D-18 as NTT chains moves by 6e-5 when the last bits of its input change.

    Raises:
        GateError: it is beyond :data:`TOLERANCE`, and beyond what rounding explains.
        RuntimesError: a file cannot be run.
    """
    first = _outputs(runtime, plain)
    worst = _apart(first, _outputs(runtime, planned))
    if not worst <= TOLERANCE and not worst <= ROUNDINGS * _apart(first, _outputs(runtime, plain, ulps=1)):
        raise GateError(f"{runtime}: planned and plain differ by {worst:.1e} of the scale of the outputs")
    return worst


def _apart(first: Sequence[Any], second: Sequence[Any]) -> float:
    worst = 0.0
    for one, other in zip(first, second, strict=True):
        scale = float(np.abs(one).max()) or 1.0
        worst = max(worst, float(np.abs(one - other.reshape(one.shape)).max()) / scale)
    return worst


def _outputs(runtime: str, path: Path, *, ulps: int = 0) -> Sequence[Any]:
    """Outputs of a random input, every value of which is moved by ``ulps`` units in its last place."""
    with open_session(runtime, path, threads=1, precision="float32") as session:
        rng = np.random.default_rng(1)
        inputs = {
            name: x + ulps * np.spacing(x) * rng.choice(np.array([-1, 1], x.dtype), x.shape)
            for name, x in random_inputs(session.inputs, seed=0).items()
        }
        return [np.asarray(value, np.float64) for value in session.run(inputs).values()]
