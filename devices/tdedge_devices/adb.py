"""Android devices: ``adb://SERIAL``, ``adb://HOST:PORT``, or ``adb://`` for the only one there is.

An Android device has no Python, so the runtimes' own benchmark programs measure there. Settings:
``benchmark_model`` and ``onnxruntime_perf_test`` (paths of these programs on this machine, for the device),
``benchmark_model_sha256`` and ``onnxruntime_perf_test_sha256`` (required beside them), ``adb`` (path of the
command), ``folder`` (where files go on the device), and ``python``: an interpreter there with NumPy and a
runtime, which then does all jobs as on any other machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from tdedge.errors import DeviceError, UsageError
from tdedge_devices import adb_results
from tdedge_devices.adb_environment import read_environment
from tdedge_devices.adb_shell import FOLDER, AdbShell
from tdedge_devices.address import Settings
from tdedge_devices.closing import Closing
from tdedge_devices.device import FigureKind
from tdedge_devices.shell import Shell
from tdedge_devices.shipping import Store
from tdedge_devices.tools.binaries import Binary
from tdedge_devices.tools.program import Place, Program
from tdedge_devices.tools.programs import PROGRAMS
from tdedge_devices.workshop import WorkshopDevice
from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.figures import SCHEMA_VERSION
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.memory import baseline_model, baseline_suffix
from tdedge_runtimes.session import SUFFIXES

JOB_KINDS = frozenset({"environment", "latency", "memory", "profile", "load"})
_NO_RUN = (
    "its benchmark programs give no outputs, so parity is checked on this machine alone; a browser on the "
    "device can (web+adb://), or a Python there (setting python)"
)


def connect(url: SplitResult, settings: Settings) -> AdbDevice | WorkshopDevice:
    """The device at an address.

    Raises:
        UsageError: the address or a setting is wrong.
        DeviceError: it cannot be reached, or is one of several.
        MissingError: adb is not installed.
    """
    binaries = {name: Binary.of(name, settings) for name in PROGRAMS if settings.get(name)}
    shell = open_shell(url, settings)
    address = f"adb://{shell.serial}"
    if python := settings.get("python"):
        return WorkshopDevice(shell, python, url=address, folder=shell.folder)
    return AdbDevice(shell, binaries, url=address, folder=shell.folder)


def open_shell(url: SplitResult, settings: Settings) -> AdbShell:
    """A shell on the device; arguments and errors as ``connect``."""
    if url.path not in ("", "/") or url.query or url.fragment:
        raise UsageError(f"{url.geturl()!r}: nothing may follow the serial; expected adb://SERIAL")
    folder = settings.get("folder", FOLDER)
    if not folder.startswith("/"):
        raise UsageError(f"folder is {folder!r}; expected an absolute path on the device, such as {FOLDER}")
    return AdbShell.connect(url.netloc, adb=settings.get("adb", ""), folder=folder)


class AdbDevice(Closing):
    """An Android device that measures by the runtimes' own programs; see ``device.Device``.

    Args:
        shell: the way there; closed with the device.
        binaries: the programs that were given, by name.
        url: its address.
        folder: where files go on the device.
    """

    figure_kind: FigureKind = "measured"
    job_kinds: frozenset[str] = JOB_KINDS

    def __init__(self, shell: Shell, binaries: Mapping[str, Binary], *, url: str, folder: str) -> None:
        self.shell: Shell = shell
        self.url = url
        self._binaries = dict(binaries)
        self._programs: dict[str, Program] = {name: program() for name, program in PROGRAMS.items()}
        self._store = Store(shell, folder, url)

    def environment(self) -> dict[str, Any]:
        """As ``Device.environment``; the versions are the digests of the programs."""
        versions = {
            name: f"sha256:{self._binaries[name].sha256[:16]}" if name in self._binaries else None
            for name in PROGRAMS
        }
        return read_environment(self.shell, versions)

    def do(self, job: Mapping[str, Any], *, timeout_s: float = 600.0) -> dict[str, Any]:
        """As ``Device.do``."""
        kind = job.get("kind")
        if kind == "run":
            raise UsageError(f"{self.url} does no 'run' job: {_NO_RUN}")
        if kind not in self.job_kinds:
            raise UsageError(f"{self.url} does no {kind!r} job; it does {', '.join(sorted(self.job_kinds))}")
        options = MeasureOptions.from_json(job.get("options") or {})
        end_s = time.monotonic() + timeout_s
        head = {"schema_version": SCHEMA_VERSION, "kind": kind, "options": options.to_json()}
        if kind == "environment":
            return {**head, "environment": self.environment()}
        if kind == "latency":
            models = {label: self._subject(spec, end_s) for label, spec in dict(job["models"]).items()}
            return {**head, "environment": self.environment(), **adb_results.latency(models, options)}
        subject = self._subject(job["model"], end_s)
        environment = self.environment()
        if kind == "memory":
            return {
                **head,
                "environment": environment,
                **adb_results.memory(subject, options, _count(job, "runs", 3)),
            }
        if kind == "profile":
            return {
                **head,
                "environment": environment,
                **adb_results.profile(subject, options, _count(job, "runs", 20)),
            }
        seconds, least = float(job.get("seconds", 10)), _count(job, "min_inferences", 10)
        return {**head, "environment": environment, **adb_results.load(subject, options, seconds, least)}

    def close(self) -> None:
        """As ``Device.close``."""
        self.shell.close()

    def _subject(self, spec: Mapping[str, Any], end_s: float) -> adb_results.Subject:
        """A model of a job, on the device, with the program that measures it."""
        suffix = (
            baseline_suffix(str(spec["baseline"])) if "baseline" in spec else Path(str(spec["path"])).suffix
        )
        runtime = str(spec.get("runtime") or SUFFIXES.get(suffix.lower(), ""))
        program = next((one for one in self._programs.values() if one.runtime == runtime), None)
        if program is None or suffix.lower() not in program.suffixes:
            what = f"{suffix} files in {runtime or 'any runtime'}"
            known = ", ".join(f"{'/'.join(one.suffixes)} by {one.name}" for one in self._programs.values())
            raise RuntimeInputError(f"{self.url} measures no {what}; it measures {known}")
        if spec.get("precision", "float32") not in ("float32", "int8", "int8-weights"):
            raise RuntimeInputError(
                f"{program.name} runs a file as it is; precision is {spec['precision']!r}, "
                "expected float32, or an int8 file"
            )
        binary = self._binaries.get(program.name) or Binary.of(program.name, {})
        if "baseline" in spec:
            content = baseline_model(suffix)
            model = self._store.put_bytes(f"baseline{suffix}", content)
            file = adb_results.described(f"baseline{suffix}", content)
        else:
            parcel = self._store.parcel(str(spec["path"]))
            self._store.put([parcel])
            model = self._store.path(parcel)
            file = adb_results.described_file(str(spec["path"]))
        parcel = self._store.parcel(str(binary.path))
        self._store.put([parcel])
        there = self._store.path(parcel)
        made = self.shell.run(["chmod", "755", there])
        if made.code:
            raise DeviceError(f"{self.url}: {binary.name} cannot be made a program: {made.last_line}")
        place = Place(self.shell, there, self._store.root, end_s)
        return adb_results.Subject(program, binary, place, model, file)


def _count(job: Mapping[str, Any], name: str, default: int) -> int:
    count = job.get(name, default)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise RuntimeInputError(f"{name} is {count!r}; expected a whole number of at least 1")
    return count
