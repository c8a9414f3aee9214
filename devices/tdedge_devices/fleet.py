"""Several devices side by side: a thread and a lock for each; one that fails costs the others nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tdedge.errors import DeviceError, MissingError, TdedgeError, UsageError
from tdedge_devices import address, locks
from tdedge_devices.device import Device
from tdedge_devices.inventory import Named
from tdedge_devices.link import Link
from tdedge_devices.protocol import Protocol, Runs, bench
from tdedge_devices.run_log import RunLog
from tdedge_runtimes.errors import RuntimesError

Connect = Callable[[str, Mapping[str, str]], Device]
Say = Callable[[str, str], object]

_WAKE_S = 0.2
_END_S = 20.0


def run(
    devices: Sequence[Named],
    models: Runs,
    protocol: Protocol,
    *,
    log: RunLog,
    say: Say = lambda device, line: None,
    connect: Connect | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure the models on every device at the same time.

    On Ctrl-C every connection is closed, which ends what runs on the devices, and the exception goes on.

    Args:
        devices: where.
        models: what.
        protocol: how.
        log: where finished pieces go.
        say: is told what goes on: (device, line).
        connect: makes a connection; by default by the address.

    Returns:
        Name -> result; ``errors`` of each tells what of it is missing, with exit codes.

    Raises:
        UsageError: the log that is resumed has other models.
        KeyboardInterrupt: on Ctrl-C.
    """
    opener = connect or (lambda url, settings: address.connect(url, dict(settings)))
    results = {one.name: _empty(one) for one in devices}
    plan = protocol.plan(models)
    work = []
    for one in devices:
        pieces = log.begin(one.name, {"url": one.shown_url(), **plan})
        link = Link(
            lambda one=one: opener(one.url, one.settings),  # type: ignore[misc]  # bound now, called later
            reconnects=protocol.reconnects,
            lost=pieces.note,
            timeout_s=protocol.timeout_s,
        )

        def measure(one: Named = one, link: Link = link, pieces: Any = pieces) -> None:
            document = results[one.name]
            try:
                with locks.hold(one.url, one.name):
                    _connect(link)
                    document |= bench(
                        link,
                        models,
                        protocol,
                        one.settings,
                        pieces=pieces,
                        say=lambda line: say(one.name, line),
                    )
            except (TdedgeError, RuntimesError) as error:
                document["errors"].append(
                    {"piece": "connection", "message": error.message, "exit_code": error.exit_code}
                )
                say(one.name, error.message)
            finally:
                link.close()
                document["notes"] = pieces.notes
                document["finished"] = datetime.now(UTC).isoformat(timespec="seconds")

        work.append((threading.Thread(target=_guarded, args=(measure, results[one.name]), daemon=True), link))
    try:
        for thread, _ in work:
            thread.start()
        for thread, _ in work:
            while thread.is_alive():
                thread.join(_WAKE_S)
    except BaseException:
        for _, link in work:
            link.close()
        for thread, _ in work:
            if thread.ident is not None:
                thread.join(_END_S)
        raise
    for document in results.values():
        if crash := document.pop("crash", None):
            raise crash
    return results


def _connect(link: Link) -> None:
    """The first connection is tried once: a device that is not there fails fast."""
    assert link.device is not None


def _guarded(measure: Callable[[], None], document: dict[str, Any]) -> None:
    try:
        measure()
    except BaseException as error:  # a mistake of ours: told in the main thread, with its trace
        document["crash"] = error


def exit_code(results: Mapping[str, Mapping[str, Any]]) -> int:
    """0 where everything was measured; a lost device counts more than a failed gate.

    A target that a device cannot run, for want of its runtime, is no failure where it ran another.
    """
    codes = [
        error["exit_code"]
        for one in results.values()
        for error in one["errors"]
        if not _cannot_run(one["targets"], error)
    ]
    return DeviceError.exit_code if DeviceError.exit_code in codes else next(iter(codes), 0)


def _cannot_run(targets: Mapping[str, Any], error: Mapping[str, Any]) -> bool:
    own = targets.get(error["piece"].partition("/")[0])
    if own is None or own["result"] is not None:
        return False
    refused = error["exit_code"] in (UsageError.exit_code, MissingError.exit_code)
    return refused and any(target["valid"] for target in targets.values())


def _empty(one: Named) -> dict[str, Any]:
    return {
        "url": one.shown_url(),
        "settings": one.shown_settings(),
        "figure_kind": "measured",
        "environment": None,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "targets": {},
        "errors": [],
        "notes": [],
    }
