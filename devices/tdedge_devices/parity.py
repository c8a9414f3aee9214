"""Parity on a device: the golden inputs run there too, compared with the reference outputs.

The rule is that of ``tdedge verify``: the largest error of an output, relative to its own scale, is within
the tolerance of the precision, and integers, NaN and infinities are the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tdedge.agreement import TOLERANCES, agree
from tdedge.artifact import read_manifest
from tdedge.errors import UsageError
from tdedge.golden import read_golden, to_layout
from tdedge_runtimes.session import load_inputs, save_arrays

Do = Callable[[Mapping[str, Any]], dict[str, Any]]


def check(do: Do, spec: Mapping[str, Any], artifact: Path, target: str) -> dict[str, Any]:
    """Run one target of an artifact on its golden inputs and compare.

    Args:
        do: does a job on the device.
        spec: the model, as a job takes it.
        artifact: its folder.
        target: which of its targets.

    Returns:
        JSON values: ``passed``, ``tolerance``, ``max_rel``, ``outputs``, ``reason``.

    Raises:
        UsageError: the artifact is broken.
    """
    manifest = read_manifest(artifact, check_hashes=False)
    entry = next((one for one in manifest.targets if one.target == target), None)
    if entry is None:
        raise UsageError(f"{artifact} has no target {target}")
    feed, expected = read_golden(artifact, manifest)
    tolerance = float(entry.parity.get("tolerance") or TOLERANCES[entry.precision])
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        save_arrays(inputs, to_layout(feed, entry.input_layout))
        do({"kind": "run", "model": dict(spec), "inputs": str(inputs), "outputs": str(outputs)})
        actual = load_inputs(outputs)
    return {"precision": entry.precision, **compare(expected, actual, tolerance)}


def compare(expected: Mapping[str, Any], actual: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    """The verdict on one set of outputs."""
    if set(actual) != set(expected):
        reason = f"the device gives outputs {sorted(actual)}, the network has {sorted(expected)}"
        return {"tolerance": tolerance, "passed": False, "max_rel": None, "reason": reason, "outputs": []}
    found = [agree(name, [expected[name]], [actual[name]]) for name in expected]
    worst = max(found, key=lambda one: one.max_rel)
    passed = all(not one.reason and one.max_rel <= tolerance for one in found)
    reason = "" if passed else worst.reason or f"{worst.max_rel:.1e} of its scale, tolerance {tolerance:.1e}"
    return {
        "tolerance": tolerance,
        "passed": passed,
        "max_rel": worst.to_json()["max_rel"],
        "reason": reason and f"output {worst.name!r}: {reason}",
        "outputs": [
            {**one.to_json(), "passed": not one.reason and one.max_rel <= tolerance} for one in found
        ],
    }
