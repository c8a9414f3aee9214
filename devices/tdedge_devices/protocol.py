"""The protocol of a measurement on a device: what is done, in which order, and what counts.

Per target: parity on the golden inputs; rounds of interleaved latency, each after the temperature gate, each
counted only where the device was not slowed down; memory, a fresh process per model and one for the
one-operation model; where asked the time of single operators, energy, and the curve over minutes. Every
piece is logged as it ends, and a piece that fails costs itself alone.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tdedge.errors import DeviceError, TdedgeError, UsageError
from tdedge_devices import energy, governors, parity, rounds, sustained
from tdedge_devices.conditions import Conditions, Watcher
from tdedge_devices.cooling import Gate, cool_down
from tdedge_devices.device import Device
from tdedge_devices.link import Link
from tdedge_devices.run_log import Pieces
from tdedge_runtimes.client import measure_memory, model_spec
from tdedge_runtimes.errors import RuntimesError
from tdedge_runtimes.figures import not_measurable
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.memory import FIELDS

#: Target -> label -> model: ``path``, and ``runtime``, ``precision``, ``cost``, ``artifact`` where known.
Runs = Mapping[str, Mapping[str, Mapping[str, Any]]]
Say = Callable[[str], object]

_SPEC = ("path", "runtime", "precision", "inputs")


@dataclass(frozen=True)
class Protocol:
    """How to measure.

    Attributes:
        options: threads, blocks and seconds of latency; the seconds are shared by the rounds.
        rounds: processes in which latency is measured.
        memory: whether memory is measured.
        profile: whether single operators are timed.
        energy: whether energy is measured.
        sustained_s: length of the curve over minutes; 0 makes none.
        max_celsius: rounds begin below this temperature.
        cool_down_s: longest wait for it.
        governor: clock governor to set while measuring; None leaves it as it is.
        timeout_s: seconds a job may take beyond what it measures.
        reconnects: how often a lost connection is made again for one piece.
        energy_folder: keeps the raw samples of the sensors.
    """

    options: MeasureOptions = field(default_factory=MeasureOptions)
    rounds: int = 3
    memory: bool = True
    profile: bool = False
    energy: bool = False
    sustained_s: float = 0.0
    max_celsius: float = 45.0
    cool_down_s: float = 300.0
    governor: str | None = None
    timeout_s: float = 600.0
    reconnects: int = 2
    energy_folder: Path | None = None

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"--rounds {self.rounds}; expected at least 1")

    def plan(self, models: Runs) -> dict[str, Any]:
        """What is measured and how, as JSON values that two equal runs share."""
        files = {
            f"models ({target}, {label})": _digest(Path(str(model["path"])))
            for target, by_label in models.items()
            for label, model in by_label.items()
        }
        how = {key: value for key, value in asdict(self).items() if key in _PLANNED}
        return {**files, "options": {**how, "latency": self.options.to_json()}}


_PLANNED = ("rounds", "sustained_s", "max_celsius", "governor")


def bench(
    link: Link,
    models: Runs,
    protocol: Protocol,
    settings: Mapping[str, str],
    *,
    pieces: Pieces,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Measure all models on one device.

    Args:
        link: the device.
        models: what to measure.
        protocol: how.
        settings: of the device, for its sensors.
        pieces: what is done already, and where what is done is kept.
        say: is told what goes on, line by line.

    Returns:
        JSON values: ``figure_kind``, ``environment``, ``targets`` and ``errors``. Where the device was lost
        for good, what there is, with the loss among the errors.
    """
    run = _Run(link, models, protocol, settings, pieces, say)
    try:
        run.describe()
        with governors.held(link, protocol.governor, say):
            for target in models:
                run.target(target)
    except (TdedgeError, RuntimesError) as error:
        run.failed(
            "connection" if isinstance(error, DeviceError) else "start", error.message, error.exit_code
        )
    return run.document


class _Run:
    def __init__(
        self,
        link: Link,
        models: Runs,
        protocol: Protocol,
        settings: Mapping[str, str],
        pieces: Pieces,
        say: Say,
    ) -> None:
        self.link, self.models, self.protocol = link, models, protocol
        self.settings, self.pieces, self.say = settings, pieces, say
        self.errors: list[dict[str, Any]] = []
        self.targets: dict[str, dict[str, Any]] = {}
        self.document: dict[str, Any] = {
            "figure_kind": "measured",
            "environment": None,
            "targets": self.targets,
            "errors": self.errors,
        }
        self._watched: tuple[Device, Watcher] | None = None

    # pieces ------------------------------------------------------------------------------------------------

    def failed(self, piece: str, message: str, exit_code: int) -> None:
        self.errors.append({"piece": piece, "message": message, "exit_code": exit_code})
        self.pieces.note(f"{piece}: {message}")
        self.say(f"{piece}: {message}")

    def piece(self, name: str, work: Callable[[], Any]) -> Any:
        """The result of a piece, from the log or done now; None where it failed."""
        if (known := self.pieces.get(name)) is not None:
            return known
        self.say(name)
        try:
            result = work()
        except DeviceError:
            raise  # the device is lost: so is every other piece
        except (TdedgeError, RuntimesError) as error:
            self.failed(name, error.message, error.exit_code)
            return None
        self.pieces.keep(name, result)
        return result

    def read(self) -> Conditions:
        """The conditions of the device."""
        return self.link.call(lambda device: self._watcher(device).read())

    def _watcher(self, device: Device) -> Watcher:
        if self._watched is None or self._watched[0] is not device:  # another after each lost connection
            self._watched = (device, Watcher(device.shell))
        return self._watched[1]

    def gate(self) -> Gate:
        """Wait until the device is cool."""
        gate = cool_down(
            self.read,
            limit_celsius=self.protocol.max_celsius,
            longest_s=self.protocol.cool_down_s,
            pause=self.link.pause,
        )
        if gate.waited_s >= 1 and gate.conditions.celsius is not None:
            self.say(
                f"cooled down for {gate.waited_s:.0f} s to {gate.conditions.celsius:.1f} degrees Celsius"
            )
        return gate

    # the protocol ------------------------------------------------------------------------------------------

    def describe(self) -> None:
        """What the device is."""

        def look() -> dict[str, Any]:
            return self.link.call(
                lambda device: {
                    "figure_kind": device.figure_kind,
                    "environment": device.environment(),
                    "job_kinds": sorted(device.job_kinds),
                }
            )

        # Not from the log alone: a run that goes on needs a device that is there.
        found = look()
        if self.pieces.get("device") is None:
            self.pieces.keep("device", found)
        self.document |= {key: found[key] for key in ("figure_kind", "environment")}
        self.job_kinds = set(found["job_kinds"])
        if found["figure_kind"] == "emulated":
            self.protocol = replace(self.protocol, options=self.protocol.options.counted())

    def target(self, target: str) -> None:
        """Everything of one target."""
        models = self.models[target]
        specs = {
            label: model_spec({key: model[key] for key in _SPEC if model.get(key)})
            for label, model in models.items()
        }
        entry: dict[str, Any] = {
            "valid": False,
            "reasons": [],
            "result": None,
            "rounds": [],
            "costs": {label: model["cost"] for label, model in models.items() if model.get("cost")},
            "parity": {},
            "profiles": {},
            "energy": {},
            "sustained": {},
        }
        self.targets[target] = entry
        for label, model in models.items():
            entry["parity"][label] = self._parity(target, label, specs[label], model)
        self._latency(target, entry, specs)
        if entry["result"] is None:
            return
        if self.protocol.memory:
            memory = self.piece(f"{target}/memory", lambda: self._memory(specs))
            for label, figures in (memory or {}).items():
                entry["result"]["models"][label]["memory"] = figures
        if self.protocol.profile:
            for label in specs:
                entry["profiles"][label] = self._profile(target, label, specs[label])
        if self.protocol.energy:
            entry["energy"] = self.piece(f"{target}/energy", lambda: self._energy(target, specs)) or {}
        if self.protocol.sustained_s:
            for label in specs:
                entry["sustained"][label] = self._sustained(target, label, specs[label])

    def _parity(
        self, target: str, label: str, spec: Mapping[str, str], model: Mapping[str, Any]
    ) -> dict[str, Any]:
        if not model.get("artifact"):
            return {"passed": None, "max_rel": None, "reason": "a model file has no golden data; export it"}
        if "run" not in self.job_kinds:
            return {"passed": None, "max_rel": None, "reason": "this device tells no outputs"}
        name = f"{target}/parity/{label}"
        artifact = Path(str(model["artifact"]))
        found = self.piece(name, lambda: parity.check(self.link.do, spec, artifact, target))
        if found is None:
            return {"passed": False, "max_rel": None, "reason": self.errors[-1]["message"]}
        if not found["passed"]:
            self.failed(name, found["reason"], 1)
        checked: dict[str, Any] = found
        return checked

    def _latency(self, target: str, entry: dict[str, Any], specs: Mapping[str, Mapping[str, str]]) -> None:
        options = self.protocol.options.to_json()
        options["max_seconds"] = self.protocol.options.max_seconds / self.protocol.rounds
        job = {"kind": "latency", "models": specs, "options": options}
        seconds = self.protocol.options.max_seconds + self.protocol.options.warmup_seconds * len(specs)
        done: list[dict[str, Any]] = []
        try:
            self._rounds(target, entry, job, seconds, done)
        finally:  # what was measured before the device was lost is kept
            self._merge(target, entry, done)

    def _rounds(
        self,
        target: str,
        entry: dict[str, Any],
        job: Mapping[str, Any],
        seconds: float,
        done: list[dict[str, Any]],
    ) -> None:
        for number in range(self.protocol.rounds):
            one = self.piece(
                f"{target}/latency/{number}",
                lambda: rounds.measure_round(lambda: self.link.do(job, seconds), self.gate(), self.read),
            )
            if one is None:
                reason = self.errors[-1]["message"]
                entry["rounds"].append({"valid": False, "reasons": [reason]})
                if self.errors[-1]["exit_code"] != RuntimesError.exit_code:
                    break  # wrong or missing, not broken: it would fail again
                continue
            done.append(one)
            entry["rounds"].append(_without_result(one))

    def _merge(self, target: str, entry: dict[str, Any], done: list[dict[str, Any]]) -> None:
        valid = [one for one in done if one["valid"]]
        if done:
            entry["result"] = rounds.merge(valid or done, self.protocol.options)
            entry["valid"] = bool(valid)
        if not valid:
            entry["reasons"] = list(dict.fromkeys(r for one in entry["rounds"] for r in one["reasons"]))
            if done:
                self.failed(f"{target}/latency", f"no round counts: {'; '.join(entry['reasons'])}", 1)

    def _memory(self, specs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        if "memory" not in self.job_kinds:
            unknown = not_measurable("bytes", "this device does not tell the memory of a program")
            return {label: {"method": "none", **dict.fromkeys(FIELDS, unknown)} for label in specs}
        return measure_memory(specs, self.protocol.options.to_json(), self.link.do)

    def _profile(self, target: str, label: str, spec: Mapping[str, str]) -> dict[str, Any]:
        if "profile" not in self.job_kinds:
            return {"reason": "this device tells no time of single operators"}
        job = {"kind": "profile", "model": spec, "options": {"threads": self.protocol.options.threads}}
        found = self.piece(f"{target}/profile/{label}", lambda: self.link.do(job)["model"]["profile"])
        return found if found is not None else {"reason": self.errors[-1]["message"]}

    def _load_job(self, spec: Mapping[str, str], seconds: float) -> dict[str, Any]:
        options = self.protocol.options.to_json()
        return {"kind": "load", "model": spec, "options": options, "seconds": seconds, "min_inferences": 10}

    def _energy(self, target: str, specs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        self.gate()
        jobs = {label: self._load_job(spec, 10) for label, spec in specs.items()}
        kept = self.protocol.energy_folder
        folder = kept / target.replace(":", "-") if kept is not None else None
        return self.link.call(
            lambda device: energy.measure(device, jobs, self.settings, folder=folder, say=self.say)
        )

    def _sustained(self, target: str, label: str, spec: Mapping[str, str]) -> dict[str, Any]:
        if "load" not in self.job_kinds:
            return dict(sustained.unavailable("this device cannot run inference without a pause"))
        found = self.piece(
            f"{target}/sustained/{label}",
            lambda: sustained.measure(
                lambda seconds: self.link.do(self._load_job(spec, seconds), seconds),
                self.protocol.sustained_s,
                self.gate(),
                self.read,
                self.say,
            ),
        )
        return found if found is not None else dict(sustained.unavailable(self.errors[-1]["message"]))


def _without_result(one: Mapping[str, Any]) -> dict[str, Any]:
    """A round for the result file; the samples of one that counts are in the merged result."""
    shown = {key: value for key, value in one.items() if key != "result"}
    if not one["valid"]:
        shown["samples_ms"] = {
            label: model["latency"]["samples_ms"] for label, model in one["result"]["models"].items()
        }
    return shown


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for part in (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,):
        with contextlib.suppress(OSError):  # a file that is not there is told when it is used
            digest.update(part.read_bytes())
    return digest.hexdigest()
