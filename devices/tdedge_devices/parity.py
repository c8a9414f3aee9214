"""Parity on a device: the golden inputs run there too, compared with the reference outputs.

The rule is that of ``tdedge verify``: the largest error of an output, relative to its own scale, is within
the tolerance of the precision, and integers, NaN and infinities are the same. Targets of 8 bits are held to
the signal-to-noise ratio that the export asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tdedge.agreement import TOLERANCES, agree, golden_floor, within
from tdedge.artifact import read_manifest
from tdedge.errors import UsageError
from tdedge.golden import for_target, read_golden, to_reals
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
    floor = golden_floor(entry.precision, entry.parity)
    tolerance = None if floor is not None else entry.parity.get("tolerance") or TOLERANCES[entry.precision]
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        save_arrays(inputs, for_target(feed, entry))
        do({"kind": "run", "model": dict(spec), "inputs": str(inputs), "outputs": str(outputs)})
        actual = to_reals(load_inputs(outputs), entry.integers)
    return {"precision": entry.precision, **compare(expected, actual, tolerance, floor)}


def compare(
    expected: Mapping[str, Any],
    actual: Mapping[str, Any],
    tolerance: float | None,
    min_sqnr_db: float | None = None,
) -> dict[str, Any]:
    """The verdict on one set of outputs: by its largest errors, or by its signal-to-noise ratios."""
    if set(actual) != set(expected):
        reason = f"the device gives outputs {sorted(actual)}, the network has {sorted(expected)}"
        return {"tolerance": tolerance, "passed": False, "max_rel": None, "reason": reason, "outputs": []}
    found = [agree(name, [expected[name]], [actual[name]]) for name in expected]
    verdicts = [within(one, tolerance, min_sqnr_db) for one in found]
    passed = all(verdicts)
    failed = [one for one, verdict in zip(found, verdicts, strict=True) if not verdict]
    worst = max(failed or found, key=lambda one: one.max_rel)
    limit = (
        f"tolerance {tolerance:.1e}" if tolerance is not None else f"at least {min_sqnr_db:.1f} dB expected"
    )
    reason = "" if passed else worst.reason or f"{worst.max_rel:.1e} of its scale, {limit}"
    return {
        "tolerance": tolerance,
        "passed": passed,
        "max_rel": worst.to_json()["max_rel"],
        "reason": reason and f"output {worst.name!r}: {reason}",
        "outputs": [
            {**one.to_json(), "passed": verdict} for one, verdict in zip(found, verdicts, strict=True)
        ],
    }
