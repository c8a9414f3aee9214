"""A device: where models run. It does the jobs of the worker (``tdedge_runtimes.jobs``), wherever it is.

Whoever holds a device hands it jobs with paths of *this* machine; the device takes the files to itself, runs
the job there and returns the worker's result. What it cannot measure is a figure without a value and with a
reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from tdedge_devices.shell import Shell

#: Kind of every figure of a device: measured on it, counted by an emulator, or computed from a recording.
FigureKind = Literal["measured", "emulated", "replayed"]

#: One job of the worker, paths on this machine, to its result.
Do = Callable[[Mapping[str, Any]], dict[str, Any]]


class Device(Protocol):
    """Where models run. Close it, or use it as a context manager."""

    @property
    def url(self) -> str:
        """The address it was reached by, without secrets."""
        ...

    @property
    def figure_kind(self) -> FigureKind:
        """What the figures of its results are."""
        ...

    @property
    def job_kinds(self) -> frozenset[str]:
        """The kinds of job it can do."""
        ...

    @property
    def shell(self) -> Shell | None:
        """The way to run commands there; None where there is none (a browser)."""
        ...

    def environment(self) -> dict[str, Any]:
        """Processor, system, versions of the runtimes, as ``tdedge_runtimes.environment`` tells them.

        Raises:
            DeviceError: it cannot be reached.
            MissingError: something it needs to do jobs is not installed there.
        """
        ...

    def do(self, job: Mapping[str, Any], *, timeout_s: float = 600.0) -> dict[str, Any]:
        """Do one job there.

        Args:
            job: as ``tdedge_runtimes.client.run_job`` takes it; all its paths are of this machine.
            timeout_s: seconds after which the job is ended there.

        Raises:
            DeviceError: the device cannot be reached, is full, or the connection was lost.
            RuntimesError: the worker's own errors.
            UsageError: a kind of job the device cannot do.
        """
        ...

    def close(self) -> None:
        """End what runs there and the connection."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def relabelled(result: Any, kind: FigureKind) -> Any:
    """A result in which every figure that says "measured" says ``kind``."""
    if isinstance(result, Mapping):
        return {
            key: kind if key == "kind" and value == "measured" else relabelled(value, kind)
            for key, value in result.items()
        }
    if isinstance(result, list):
        return [relabelled(value, kind) for value in result]
    return result
