"""An emulated Arm machine that counts instructions; ``emulated:cortex-a72`` is the processor of a Pi 4.

Settings: ``image``, the folder of the system it boots (made by ``python -m tdedge_devices.arm64_image``),
``memory_mb`` and ``qemu``, the program.

Its times are instruction time: one nanosecond for each instruction, the same on every run and every host.
They compare two ways to compute one thing on one processor; they know no caches and no pipeline, and never
become a latency. Its memory figures are true. Floating point is emulated too: a network takes about eight
times longer to run than its time says, so the options of a measurement should ask for few calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tdedge.errors import UsageError
from tdedge_devices.address import Settings
from tdedge_devices.arm64_image import Image, default_folder
from tdedge_devices.emulated_machine import QEMU, Machine
from tdedge_devices.shell import HoldingShell
from tdedge_devices.ssh import open_shell
from tdedge_devices.workshop import WorkshopDevice

#: Processors, and the boards that have them.
PROCESSORS = {
    "cortex-a53": "Raspberry Pi 3",
    "cortex-a72": "Raspberry Pi 4",
    "cortex-a76": "Raspberry Pi 5",
}
_MEMORY_MB = 4096
_LEAST_MB = 1024


class EmulatedDevice(WorkshopDevice):
    """A machine in qemu, and qemu itself.

    Args:
        shell: the way into the machine.
        machine: closed with the device.
        cpu: its processor.
    """

    def __init__(self, shell: HoldingShell, machine: Machine, cpu: str) -> None:
        super().__init__(shell, "python3", url=f"emulated:{cpu}", figure_kind="emulated")
        self._machine = machine
        self._method = f"instruction time of an emulated {cpu}, 1 ns per instruction, no caches or pipeline"

    def do(self, job: Mapping[str, Any], *, timeout_s: float = 3600.0) -> dict[str, Any]:
        """As ``Device.do``; times say what they are. Seconds of ``timeout_s`` are this machine's."""
        told: dict[str, Any] = self._told(super().do(job, timeout_s=timeout_s))
        return told

    def close(self) -> None:
        """As ``Device.close``; ends qemu."""
        try:
            super().close()
        finally:
            self._machine.close()

    def _told(self, value: Any) -> Any:
        """A result in which the method of every time says what such a time is."""
        if isinstance(value, list):
            return [self._told(each) for each in value]
        if not isinstance(value, Mapping):
            return value
        told = {key: self._told(each) for key, each in value.items()}
        if "median_ms" in told and "method" in told:
            told["method"] = f"{self._method}; {told['method']}"
        return told


def connect(url: SplitResult, settings: Settings) -> EmulatedDevice:
    """A freshly booted machine; it takes ten seconds or more.

    Raises:
        UsageError: an unknown processor or a wrong setting.
        MissingError: no image, or qemu or asyncssh is not installed.
        DeviceError: it does not boot.
    """
    cpu = url.path
    if cpu not in PROCESSORS or url.netloc or url.query or url.fragment:
        known = ", ".join(f"emulated:{name} ({board})" for name, board in PROCESSORS.items())
        raise UsageError(f"{url.geturl()!r} names no processor that is emulated; expected one of {known}")
    memory_mb = settings.get("memory_mb", str(_MEMORY_MB))
    if not memory_mb.isdigit() or int(memory_mb) < _LEAST_MB:
        raise UsageError(
            f"the setting memory_mb of {url.geturl()} is {memory_mb!r}; expected at least {_LEAST_MB}"
        )
    folder = settings.get("image", "")
    image = Image.load(Path(folder).expanduser() if folder else default_folder())
    machine = Machine(image, cpu, memory_mb=int(memory_mb), qemu=settings.get("qemu", QEMU))
    try:
        machine.wait()
        address = urlsplit(f"ssh://root@127.0.0.1:{machine.port}")
        keys = {"key": str(image.key), "known_hosts": str(image.known_hosts)}
        return EmulatedDevice(open_shell(address, keys), machine, cpu)
    except BaseException:
        machine.close()
        raise
