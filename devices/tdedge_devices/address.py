"""From an address to a device: the seven schemes, each in a file of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from tdedge.errors import UsageError
from tdedge_devices.device import Device

#: Scheme -> "module:function"; the function takes the split address and the device's settings.
SCHEMES: dict[str, str] = {
    "local": "tdedge_devices.local:connect",
    "ssh": "tdedge_devices.ssh:connect",
    "adb": "tdedge_devices.adb:connect",
    "web": "tdedge_devices.web.device:connect",
    "web+adb": "tdedge_devices.web.over_adb:connect",
    "emulated": "tdedge_devices.emulated:connect",
    "replay": "tdedge_devices.replay:connect",
}

Settings = dict[str, str]


def split(url: str) -> SplitResult:
    """The parts of an address.

    Raises:
        UsageError: it is not one of a device.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}:" for scheme in SCHEMES)
        raise UsageError(f"{url!r} is no address of a device; expected one that begins with {known}")
    return parts


def connect(url: str, settings: Settings | None = None) -> Device:
    """The device at an address, ready for jobs.

    Args:
        url: such as ``ssh://pi@192.0.2.7``, ``adb://SERIAL``, ``local:``.
        settings: more than fits an address, by name, such as ``{"python": "/opt/venv/bin/python"}``.

    Raises:
        UsageError: no such kind of device, or an unknown setting.
        DeviceError: it cannot be reached.
        MissingError: what this kind of device needs on this machine is not installed.
    """
    parts = split(url)
    module, _, name = SCHEMES[parts.scheme].partition(":")
    opener: Callable[[SplitResult, Settings], Device] = getattr(importlib.import_module(module), name)
    return opener(parts, dict(settings or {}))
