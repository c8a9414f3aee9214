"""Time of every node that ONNX Runtime executes, from its own profile.

The profile is a JSON file that the runtime writes when profiling ends; it goes into a folder of its own that
is removed. Nodes are those left after the runtime's optimisations: a fused one has a name of its own. Times
are whole microseconds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.onnxruntime import OnnxRuntimeSession
from tdedge_runtimes.operator_times import WARM_UP_RUNS, OpTime, check_counts, summarise
from tdedge_runtimes.session import Array, random_inputs

_KERNEL = "_kernel_time"
_RUN = "model_run"


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
        RuntimeMissing: ONNX Runtime is not installed.
        RuntimeInputError: The file cannot be loaded, or an input does not fit.
        RuntimeFailed: The profile cannot be read.
    """
    check_counts(threads, runs)
    with tempfile.TemporaryDirectory() as folder:
        prefix = str(Path(folder) / "profile")
        with OnnxRuntimeSession(
            Path(path), threads=threads, precision=precision, profile_prefix=prefix
        ) as session:
            call = session.bind(random_inputs(session.inputs) if inputs is None else inputs)
            for _ in range(WARM_UP_RUNS + runs):
                call()
            written = session.end_profiling()
        try:
            events = json.loads(Path(written).read_bytes())
        except (OSError, ValueError) as error:
            raise RuntimeFailed(
                f"onnxruntime cannot be profiled: {type(error).__name__} in its file"
            ) from None
    return parse(events, runs)


def parse(events: list[dict[str, Any]], runs: int) -> list[OpTime]:
    """The nodes of the last ``runs`` runs of a profile.

    Raises:
        RuntimeFailed: The profile has fewer runs, or no nodes.
    """
    found: list[list[dict[str, Any]]] = []
    nodes: list[dict[str, Any]] = []
    for event in sorted(events, key=lambda event: int(event.get("ts", 0)) + int(event.get("dur", 0))):
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            nodes.append(event)
        elif name == _RUN:
            found.append(sorted(nodes, key=lambda node: int(node["ts"])))
            nodes = []
    if len(found) < runs:
        raise RuntimeFailed(f"onnxruntime cannot be profiled: its file has {len(found)} of {runs} runs")
    chosen = found[-runs:]
    types = [str(node["args"].get("op_name", "")) for node in chosen[0]]
    return summarise([[_entry(node) for node in run] for run in chosen], types)


def _entry(node: Mapping[str, Any]) -> tuple[str, bool, int, int]:
    about = node["args"]
    name = str(node["name"]).removesuffix(_KERNEL) or str(about.get("op_name", ""))
    return name, False, int(about["node_index"]), int(node["dur"])
