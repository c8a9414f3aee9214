"""Planning for another machine than this one: its times, processor and versions, handed over by a caller.

This package knows no device. Whoever holds one passes what it does with a job of the worker
(``tdedge_runtimes.jobs``) and what it says about itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tdedge.errors import MissingError
from tdedge_exporters.kernels import has_blocked
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.costs import Cost, Place
from tdedge_exporters.planner.efforts import Settings
from tdedge_exporters.planner.pricing import costs_of, latency_job
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.session import PACKAGES

#: Channels of one block of ONNX Runtime's convolutions on arm64, whatever the width of a vector. THETIS on an
#: emulated Cortex-A72: 977 M instructions packed to 16 channels, 1,055 M packed to 8.
_ARM_BLOCK = 16


def channel_lanes(target: Target, machine: str, lanes: int) -> int:
    """Channels a runtime works on side by side, on a machine with so many SIMD lanes.

    Args:
        target: which runtime.
        machine: as ``platform.machine()``.
        lanes: see :func:`tdedge_runtimes.environment.simd_lanes`.
    """
    is_arm = machine.lower() in ("aarch64", "arm64")
    return _ARM_BLOCK if is_arm and target.runtime == "onnxruntime" else lanes


@dataclass(frozen=True)
class Remote:
    """A device that times what is planned for it.

    Attributes:
        name: its address, without secrets.
        environment: processor and versions, as ``tdedge_runtimes.environment`` tells them.
        do: does a job of the worker there.
        figures: what its times are; ``emulated`` ones are counted, and the same on every call.
    """

    name: str
    environment: Mapping[str, Any]
    do: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    figures: Literal["measured", "emulated"] = "measured"

    def lanes(self, target: Target) -> int:
        """Channels that the runtime of ``target`` works on side by side there."""
        return channel_lanes(target, str(self.environment["machine"]), int(self.environment["simd_lanes"]))

    def has_blocked(self, target: Target) -> bool:
        """Whether the runtime of ``target`` has blocked kernels there."""
        machine, lanes = str(self.environment["machine"]), int(self.environment["simd_lanes"])
        return has_blocked(target, machine, lanes)

    def place(self, target: Target, threads: int) -> Place:
        """The runtime of ``target`` there.

        Raises:
            MissingError: it is not installed there.
        """
        versions = self.environment["versions"]
        packages = PACKAGES[target.runtime]
        version = next((versions[name] for name in packages if versions.get(name)), None)
        if version is None:
            raise MissingError(f"{self.name} has no {packages[0]}; install it there, or leave out {target}")
        cores = self.environment.get("affinity")
        count = len(cores) if isinstance(cores, list) else self.environment["cores"]
        machine = f"{self.environment['cpu_model']}, {count} cores"
        if board := self.environment.get("board"):
            machine = f"{board}: {machine}"
        if self.figures == "emulated":
            machine = f"{self.name}, instruction time: {machine}"
        return Place(target.runtime, str(version), target.precision, threads, machine)

    def measure(
        self, files: Mapping[str, Path], target: Target, options: MeasureOptions
    ) -> Mapping[str, Cost]:
        """Time files there, as :data:`tdedge_exporters.planner.pricing.Measure`.

        Raises:
            RuntimesError: the worker or the runtime failed there.
            DeviceError: the device was lost.
        """
        costs = costs_of(self.do(latency_job(files, target, options)))
        if self.figures == "measured":
            return costs
        return {label: replace(cost, quiet=True) for label, cost in costs.items()}

    def settings(self, settings: Settings) -> Settings:
        """How things are timed there: few calls where one tells all."""
        if self.figures == "measured":
            return settings
        return replace(settings, trial=settings.trial.counted(), check=settings.check.counted())
