"""A connection to a device that is made again when it was lost."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tdedge.errors import DeviceError
from tdedge_devices.device import Device

T = TypeVar("T")

_PAUSES_S = (1.0, 3.0, 10.0)


class Link:
    """One device, connected when it is needed.

    Args:
        connect: makes the connection.
        reconnects: how often a lost connection is made again for one piece of work.
        lost: is told of every lost connection.
        timeout_s: seconds a job may take beyond the time it measures.
    """

    def __init__(
        self,
        connect: Callable[[], Device],
        *,
        reconnects: int = 2,
        lost: Callable[[str], object] = lambda line: None,
        timeout_s: float = 600.0,
    ) -> None:
        self._connect = connect
        self._reconnects = reconnects
        self._lost = lost
        self.timeout_s = timeout_s
        self._device: Device | None = None
        self._closed = threading.Event()

    @property
    def device(self) -> Device:
        """The device; connects where there is no connection.

        Raises:
            DeviceError: it cannot be reached, or the link was closed.
        """
        if self._closed.is_set():
            raise DeviceError("the connection was closed")
        if self._device is None:
            self._device = self._connect()
            if self._closed.is_set():  # closed while it was being made
                self._drop()
                raise DeviceError("the connection was closed")
        return self._device

    def call(self, work: Callable[[Device], T]) -> T:
        """Do a piece of work; after a lost connection once more from its beginning.

        Raises:
            DeviceError: the device cannot be reached (again).
        """
        lost = 0
        while True:
            try:
                return work(self.device)
            except DeviceError as error:
                self._drop()
                if self._closed.is_set() or lost >= self._reconnects:
                    raise
                self._lost(f"connection lost, trying again: {error.message}")
                self._closed.wait(_PAUSES_S[min(lost, len(_PAUSES_S) - 1)])
                lost += 1

    def do(self, job: Mapping[str, Any], seconds: float = 0.0) -> dict[str, Any]:
        """Do one job.

        Args:
            job: of the worker.
            seconds: how long it measures.
        """
        return self.call(lambda device: device.do(job, timeout_s=self.timeout_s + seconds))

    def close(self) -> None:
        """End what runs there, from any thread; nothing is connected again."""
        self._closed.set()
        self._drop()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed.is_set()

    def pause(self, seconds: float) -> None:
        """Wait; ends early when the link is closed.

        Raises:
            DeviceError: it was closed.
        """
        if self._closed.wait(seconds):
            raise DeviceError("the connection was closed")

    def _drop(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(Exception):  # it is broken already; what it says now helps nobody
                device.close()
