"""The sampler at work on a device, read by a thread here; the device's clock and all samples so far."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from tdedge.errors import DeviceError
from tdedge_devices import shell_sampler
from tdedge_devices.device import Device
from tdedge_devices.recording import Recorder
from tdedge_devices.sensors.sensor import Sensor
from tdedge_devices.workshop import WorkshopDevice

_SILENCE_S = 15.0
_MODULE = "tdedge_runtimes.sampler"

Sample = tuple[int, dict[str, str | None]]


class Sampling:
    """A sampler on a device, from entering to leaving; with an instrument also that.

    Args:
        device: where; it has a shell.
        sensor: what to sample. With an instrument at this machine, the sampler only tells the device's time.
        recorder: takes every sample.
        interval_ms: time between samples.
    """

    def __init__(self, device: Device, sensor: Sensor, recorder: Recorder, interval_ms: float) -> None:
        if device.shell is None:
            raise DeviceError(f"{device.url} runs no commands, so nothing can be sampled there")
        self._sensor, self._recorder = sensor, recorder
        request = {
            "interval_ms": interval_ms,
            "files": dict(sensor.files),
            "commands": {name: list(argv) for name, argv in sensor.commands.items()},
            "streams": {name: list(argv) for name, argv in sensor.streams.items()},
        }
        if isinstance(device, WorkshopDevice):
            self._stream = device.shell.start([*device.module_command(_MODULE), json.dumps(request)])
            self._lines: Iterator[str] = self._stream.lines()
        else:
            self._stream = device.shell.start(shell_sampler.command(request))
            self._lines = shell_sampler.translated(self._stream.lines())
        self._url = device.url
        self._news = threading.Condition()
        self._samples: list[Sample] = []
        self._metered: list[tuple[int, dict[str, float]]] = []
        self._offset_ns: int | None = None
        self._latest_ns = 0
        self._over = ""
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        try:
            if self._sensor.meter is not None:
                self._sensor.meter.start(lambda ns, values: self._metered.append((ns, values)))
            self._thread.start()
            self._wait(1)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        for ns, values in sorted(self._metered, key=lambda sample: sample[0]):
            # An instrument's samples are on this machine's clock; the fastest line tells the device's.
            texts: dict[str, str | None] = {name: repr(number) for name, number in values.items()}
            self._samples.append((ns - (self._offset_ns or 0), texts))
            self._recorder.sample(*self._samples[-1])

    @property
    def now_ns(self) -> int:
        """The device's clock, at the latest sample."""
        return self._latest_ns

    @property
    def samples(self) -> list[Sample]:
        """All samples so far; those of an instrument are there once sampling is over."""
        with self._news:
            return list(self._samples)

    def wait(self, seconds: float) -> tuple[int, int]:
        """Let time pass on the device.

        Returns:
            When it began and when it was over, on the device's clock.

        Raises:
            DeviceError: the sampler ended or fell silent.
        """
        begin = self._latest_ns
        return begin, self._wait(begin + round(seconds * 1e9))

    def _wait(self, until_ns: int) -> int:
        heard, latest = time.monotonic(), self._latest_ns
        with self._news:
            while self._latest_ns < until_ns:
                if self._over:
                    raise DeviceError(self._over)
                self._news.wait(0.5)
                if self._latest_ns != latest:
                    heard, latest = time.monotonic(), self._latest_ns
                elif time.monotonic() - heard > _SILENCE_S:
                    raise DeviceError(f"the sampler on {self._url} was silent for {_SILENCE_S:g} s")
            return self._latest_ns

    def _read(self) -> None:
        reason = f"the sampler on {self._url} ended by itself"
        try:
            for line in self._lines:
                now = time.monotonic_ns()
                try:
                    sample = json.loads(line)
                    ns, values = int(sample["ns"]), dict(sample["values"])
                except (ValueError, KeyError, TypeError):
                    continue  # a greeting of the device
                with self._news:
                    self._latest_ns = max(self._latest_ns, ns)
                    offset = now - ns
                    self._offset_ns = offset if self._offset_ns is None else min(offset, self._offset_ns)
                    if self._sensor.meter is None:
                        self._samples.append((ns, values))
                        self._recorder.sample(ns, values)
                    self._news.notify_all()
        except DeviceError as error:
            reason = error.message
        with self._news:
            self._over = reason
            self._news.notify_all()

    def _end(self) -> None:
        try:
            if self._sensor.meter is not None:
                self._sensor.meter.stop()
        finally:
            self._stream.stop()
            if self._thread.is_alive():
                self._thread.join(_SILENCE_S)
