"""The device that ``tdedge export --device`` plans for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tdedge.errors import UsageError

if TYPE_CHECKING:
    from tdedge_exporters.planner.remote import Remote

#: A batch of trials may take an emulated device an hour.
_JOB_S = 3600.0


@contextmanager
def planning_device(name_or_url: str | None, effort: str) -> Iterator[Remote | None]:
    """What the planner may ask of a device while the block runs; nothing where none is named.

    Raises:
        UsageError: no such device, one that times nothing itself, or an effort that measures nothing.
        DeviceError: it cannot be reached, or another process uses it.
        MissingError: it has no runtime.
    """
    if name_or_url is None:
        yield None
        return
    if effort == "none":
        raise UsageError(
            f"--effort none measures nothing on {name_or_url}; drop --device, or choose low or more"
        )
    from tdedge_devices import address, inventory, locks
    from tdedge_exporters.planner.remote import Remote

    named = inventory.resolve(name_or_url)
    with (
        locks.hold(named.url, named.name),
        address.connect(named.url, dict(named.settings)) as device,
    ):
        kind = device.figure_kind
        if kind == "replayed" or "latency" not in device.job_kinds:
            raise UsageError(f"{named.name} replays recordings; plan for a device that measures")

        def do(job: Mapping[str, Any]) -> Mapping[str, Any]:
            return device.do(job, timeout_s=_JOB_S)

        yield Remote(device.url, device.environment(), do, kind)
