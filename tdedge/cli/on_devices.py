"""What ``tdedge bench --on`` does: the options become a protocol, the protocol a document."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdedge import __version__
from tdedge.cli.output import Output
from tdedge.errors import DeviceError, TdedgeError, UsageError

if TYPE_CHECKING:
    from tdedge_devices.protocol import Protocol, Runs
    from tdedge_runtimes.measure import MeasureOptions

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|)")
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration_s(text: str, option: str) -> float:
    """Seconds of a text such as ``30m``, ``90s``, ``1h`` or ``90``.

    Raises:
        UsageError: it is none, or zero.
    """
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 0 < seconds <= 86400:
        raise UsageError(f"{option} {text!r}; expected a time such as 30m, 90s or 1h, at most a day")
    return seconds


def protocol(
    settings: MeasureOptions,
    *,
    memory: bool,
    profile: bool,
    energy: bool,
    rounds: int | None,
    sustained: str | None,
    max_celsius: float | None,
    cool_down: str | None,
    governor: str | None,
    timeout: str | None,
    log: Path | None,
) -> Protocol:
    """The protocol the options ask for.

    Raises:
        UsageError: a time or a number is wrong.
    """
    from tdedge_devices.protocol import Protocol

    return Protocol(
        options=settings,
        rounds=3 if rounds is None else rounds,
        memory=memory,
        profile=profile,
        energy=energy,
        sustained_s=0.0 if sustained is None else duration_s(sustained, "--sustained"),
        max_celsius=45.0 if max_celsius is None else max_celsius,
        cool_down_s=300.0 if cool_down is None else duration_s(cool_down, "--cool-down"),
        governor=governor,
        timeout_s=600.0 if timeout is None else duration_s(timeout, "--timeout"),
        energy_folder=log.with_suffix(".energy") if log is not None and energy else None,
    )


def measure(
    on: str,
    models: Runs,
    how: Protocol,
    *,
    log: Path | None,
    resume: bool,
    force: bool,
    output: Output,
) -> dict[str, Any]:
    """Measure on all devices; the document of the result file.

    Raises:
        UsageError: a device is unknown, or the log belongs to another run.
    """
    from tdedge_devices import fleet, inventory
    from tdedge_devices.run_log import RunLog

    devices = inventory.resolve_all(on)
    guard = threading.Lock()

    def say(device: str, line: str) -> None:
        if not output.quiet and not output.no_progress:
            with guard:
                output.note(f"{device.rstrip(':')}: {line}")

    with RunLog(log, resume=resume, force=force) as kept:
        try:
            results = fleet.run(devices, models, how, log=kept, say=say)
        except KeyboardInterrupt:
            if log is not None:
                output.note(f"what was finished is in {log}; go on with the same command and --resume")
            raise
    return {
        "schema_version": 1,
        "tdedge_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "comparisons": [],
        "profiles": {},
        "devices": results,
    }


def raise_what_failed(document: Mapping[str, Any]) -> None:
    """End the command with the right code where something could not be measured.

    Raises:
        DeviceError: a device was not reached or lost.
        TdedgeError: something else of the run failed; its exit code is that of the first failure.
    """
    from tdedge_devices.fleet import exit_code

    results = document["devices"]
    code = exit_code(results)
    if not code:
        return
    failed = [
        f"{name}: {error['message']}"
        for name, one in results.items()
        for error in one["errors"]
        if error["exit_code"] == code
    ]
    line = "; ".join(dict.fromkeys(failed[:3])) + (f"; and {len(failed) - 3} more" if failed[3:] else "")
    if code == DeviceError.exit_code:
        raise DeviceError(line)
    error = TdedgeError(line)
    error.exit_code = code
    raise error
