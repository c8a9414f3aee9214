"""A device that runs the worker: any machine with a shell, Python, NumPy and a runtime.

The worker goes there as one archive and each model file once (``shipping``); a job is one command: the job as
a line of standard input, which stays open, and the result on standard output. The job ends on the device when
its time is over (``timeout``), when it is cancelled here, and when the connection is lost (the worker ends
with its standard input), and leaves no file there.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tdedge.errors import DeviceError, MissingError, UsageError
from tdedge_devices.closing import Closing
from tdedge_devices.device import FigureKind, relabelled
from tdedge_devices.shell import Done, HoldingShell
from tdedge_devices.shipping import Store
from tdedge_devices.worker_archive import worker_archive
from tdedge_runtimes.client import read_result
from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.figures import SCHEMA_VERSION
from tdedge_runtimes.jobs import KINDS
from tdedge_runtimes.worker import UNTIL_EOF

_KILL_AFTER_S = 5
_MARGIN_S = 30.0
_NOT_FOUND = 127
_SIGNALLED = 128


class WorkshopDevice(Closing):
    """A machine with a shell and Python; see ``tdedge_devices.device.Device``.

    Args:
        shell: the way to run commands there; closed with the device.
        python: an interpreter there that has NumPy and a runtime.
        url: the address, without secrets.
        figure_kind: what its figures are.
        folder: where its files are kept; absolute, or relative to where commands start.
    """

    def __init__(
        self,
        shell: HoldingShell,
        python: str,
        *,
        url: str,
        figure_kind: FigureKind = "measured",
        folder: str = ".cache/tdedge",
    ) -> None:
        self.shell: HoldingShell = shell
        self.python = python
        self.url = url
        self.figure_kind: FigureKind = figure_kind
        self.job_kinds: frozenset[str] = KINDS
        self._store = Store(shell, folder, url)
        self._jobs = 0

    def environment(self) -> dict[str, Any]:
        """As ``Device.environment``."""
        environment: dict[str, Any] = self.do({"kind": "environment"}, timeout_s=120.0)["environment"]
        return environment

    def do(self, job: Mapping[str, Any], *, timeout_s: float = 600.0) -> dict[str, Any]:
        """As ``Device.do``; files it was handed before are not sent again."""
        kind = job.get("kind")
        if kind not in self.job_kinds:
            raise UsageError(f"{self.url} does no {kind!r} job; it does {', '.join(sorted(self.job_kinds))}")
        archive = self._store.put_bytes("worker.pyz", worker_archive())
        self._jobs += 1
        folder = f"{self._store.root}/jobs/{os.getpid()}-{time.time_ns():x}-{self._jobs}"
        there = self._translated(job, folder)
        line = json.dumps({"schema_version": SCHEMA_VERSION, **there}) + "\n"
        limit_s = max(1, math.ceil(timeout_s))
        command = ["timeout", "-k", str(_KILL_AFTER_S), str(limit_s), self.python, archive, UNTIL_EOF, folder]
        finished = False
        try:
            start = time.monotonic()
            done = self.shell.run(
                command, stdin=line.encode(), timeout_s=limit_s + _KILL_AFTER_S + _MARGIN_S, hold_stdin=True
            )
            result = self._read(done, limit_s, time.monotonic() - start)
            if "outputs" in there:
                self.shell.pull(there["outputs"], Path(str(job["outputs"])))
            finished = "outputs" not in there
        finally:
            if not finished:
                self._remove(folder)
        labelled: dict[str, Any] = relabelled(result, self.figure_kind)
        return labelled

    def module_command(self, module: str) -> list[str]:
        """The command that runs a module of ``tdedge_runtimes`` there, from the archive.

        Raises:
            DeviceError: the archive cannot be brought there.
        """
        archive = self._store.put_bytes("worker.pyz", worker_archive())
        return ["env", f"PYTHONPATH={archive}", self.python, "-m", module]

    def close(self) -> None:
        """As ``Device.close``."""
        self.shell.close()

    def _translated(self, job: Mapping[str, Any], folder: str) -> dict[str, Any]:
        """The job with the paths of the device, after the files were brought there."""
        models = dict(job["models"]) if isinstance(job.get("models"), Mapping) else {}
        if isinstance(job.get("model"), Mapping):
            models[None] = job["model"]
        owners = [model for model in models.values() if isinstance(model, Mapping)]
        named = [str(owner[key]) for owner in owners for key in ("path", "inputs") if owner.get(key)]
        if isinstance(job.get("inputs"), str):
            named.append(job["inputs"])
        parcels = {path: self._store.parcel(path) for path in named}
        self._store.put(parcels.values())

        def moved(owner: Any) -> Any:
            if not isinstance(owner, Mapping):
                return owner
            return {
                key: self._store.path(parcels[str(value)]) if key in ("path", "inputs") and value else value
                for key, value in owner.items()
            }

        there = dict(job)
        if "model" in there:
            there["model"] = moved(there["model"])
        if isinstance(there.get("models"), Mapping):
            there["models"] = {label: moved(model) for label, model in there["models"].items()}
        if isinstance(there.get("inputs"), str):
            there["inputs"] = self._store.path(parcels[there["inputs"]])
        if isinstance(there.get("outputs"), str):
            there["outputs"] = f"{folder}/outputs.npz"
        return there

    def _read(self, done: Done, limit_s: int, took_s: float) -> dict[str, Any]:
        stdout, stderr = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        if not stdout.strip():
            self._store.forget()
            if done.code and took_s >= limit_s:
                raise RuntimeFailed(f"the worker on {self.url} took longer than {limit_s} s and was stopped")
            if done.code == _NOT_FOUND:
                raise MissingError(
                    f"{self.url} cannot start {self.python!r} ({done.last_line}); install Python 3 with "
                    "NumPy and a runtime there, or name an interpreter by the setting python"
                )
        code = _SIGNALLED - done.code if done.code > _SIGNALLED else done.code
        return read_result(code, stdout, stderr)

    def _remove(self, folder: str) -> None:
        try:
            self.shell.run(["rm", "-rf", folder])
        except DeviceError:
            self._store.forget()  # lost; the worker removes its folder itself when it ends
