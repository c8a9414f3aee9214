"""Time of every node that OpenVINO executes, from its performance counters.

The counters are collected while the model runs (``PERF_COUNT``), which costs a little; nodes are those of the
compiled model, of which those below a microsecond may be left out. The plug-in tells, in whole microseconds,
the average since the model was compiled, whose first run is far slower than all others (weights are packed
then): the times here are the mean of the later runs, computed from the averages before and after them.
Median, least and most are not told and repeat the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.openvino import OpenVinoSession
from tdedge_runtimes.operator_times import WARM_UP_RUNS, OpTime, check_counts
from tdedge_runtimes.session import Array, random_inputs


def profile(
    path: str | Path,
    *,
    threads: int = 1,
    runs: int = 20,
    inputs: Mapping[str, Array] | None = None,
    precision: str = "float32",
) -> list[OpTime]:
    """Profile a model file in this process.

    Args:
        path: The file.
        threads: Threads of one inference.
        runs: Profiled runs, after three that are not.
        inputs: Name -> array; by default seeded ones, as ``random_inputs`` gives.
        precision: Of the execution.

    Returns:
        The nodes in the order of execution.

    Raises:
        RuntimeMissing: OpenVINO is not installed.
        RuntimeInputError: The file cannot be loaded, or an input does not fit.
        RuntimeFailed: The runtime failed.
    """
    check_counts(threads, runs)
    with OpenVinoSession(Path(path), threads=threads, precision=precision, counters=True) as session:
        given = random_inputs(session.inputs) if inputs is None else inputs
        for _ in range(WARM_UP_RUNS):
            session.run(given)
        before = session.counted()
        for _ in range(runs):
            session.run(given)
        after = session.counted()
    if [node.node_name for node in before] != [node.node_name for node in after]:
        raise RuntimeFailed("openvino cannot be profiled: it tells other nodes after each run")
    # A node whose average is below a microsecond counts as not run, at one of the two moments or at both.
    nodes = [pair for pair in zip(before, after, strict=True) if any(map(_was_run, pair))]
    if not nodes:
        raise RuntimeFailed("openvino cannot be profiled: no node took a microsecond")
    ops = []
    for place, (early, late) in enumerate(nodes):
        mean_us = _mean_us(early, late, runs)
        name, kind = str(late.node_name), str(late.node_type)
        ops.append(OpTime(place, name, False, place, mean_us, mean_us, mean_us, mean_us, kind))
    return ops


def _was_run(node: Any) -> bool:
    return str(node.status).rpartition(".")[2] == "EXECUTED"


def _mean_us(before: Any, after: Any, runs: int) -> float:
    """Mean of the last runs, from the averages over those before and over all."""
    early, late = (float(node.real_time.total_seconds()) * 1e6 for node in (before, after))
    return max(0.0, (late * (WARM_UP_RUNS + runs) - early * WARM_UP_RUNS) / runs)
