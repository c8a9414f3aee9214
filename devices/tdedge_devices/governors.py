"""The clock governor of a device, set while a measurement lasts, only where that was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.conditions import Watcher
from tdedge_devices.link import Link
from tdedge_devices.shell import Shell


@contextlib.contextmanager
def held(link: Link, governor: str | None, say: Callable[[str], object]) -> Iterator[None]:
    """Set the governor of every clock policy, and put back what was there when the block ends.

    Raises:
        UsageError: the device has no such governor, or does not let this user set it.
        DeviceError: it cannot be reached.
    """
    if governor is None:
        yield
        return
    before = link.call(lambda device: _set(device.shell, governor))
    say(f"governor {governor}, before {', '.join(sorted(set(before.values())))}")
    try:
        yield
    finally:
        if not link.closed:
            with contextlib.suppress(DeviceError):
                link.call(lambda device: _restore(device.shell, before))


def _set(shell: Shell | None, governor: str) -> dict[str, str]:
    if shell is None:
        raise UsageError(f"--governor {governor}: this device runs no commands; leave the option out")
    before = {}
    for policy in Watcher(shell).policies:
        path = f"{policy}/scaling_governor"
        known = (shell.read(f"{policy}/scaling_available_governors") or b"").decode(errors="replace").split()
        if known and governor not in known:
            raise UsageError(f"--governor {governor}: the device has {', '.join(known)}")
        before[path] = (shell.read(path) or b"").decode(errors="replace").strip()
        done = shell.run(["tee", path], stdin=governor.encode())
        if done.code:
            why = done.last_line or "refused"
            raise UsageError(f"--governor {governor}: {why}; it takes root on the device, or leave it out")
    if not before:
        raise UsageError(f"--governor {governor}: the device exposes no cpufreq; leave the option out")
    return before


def _restore(shell: Shell | None, before: dict[str, str]) -> None:
    for path, governor in before.items():
        if shell is not None and governor:
            shell.run(["tee", path], stdin=governor.encode())
