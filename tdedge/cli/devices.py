"""``tdedge devices``: the devices a user has named, and how they are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import UsageError

app = typer.Typer(
    name="devices",
    help="Name devices, and see whether they are ready to measure.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What you call the device, such as pi5.")]


@app.command("add")
def add(
    name: Name,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="local:, ssh://user@host, adb://SERIAL, web://, web+adb://SERIAL, emulated:, replay:FOLDER",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of this kind of device; repeatable."),
    ] = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Add a device to the inventory."""
    output = Output(json=json, quiet=quiet)
    from tdedge_devices import inventory

    added = inventory.add(name, url, _settings(settings), force=force)
    output.note(f"added {name} ({added.shown_url()}); look at it with: tdedge devices doctor {name}")
    output.document({"schema_version": 1, "file": str(inventory.inventory_file()), "added": _shown(added)})


@app.command("list")
def list_devices(json: opt.Json = False, quiet: opt.Quiet = False) -> None:
    """Show the inventory; secrets are hidden."""
    output = Output(json=json, quiet=quiet)
    from rich.table import Table

    from tdedge_devices import inventory

    known = inventory.read()
    if known:
        table = Table("name", "address", "settings")
        for one in known.values():
            settings = ", ".join(f"{key}={value}" for key, value in one.shown_settings().items())
            table.add_row(one.name, one.shown_url(), settings or "-")
        output.table(table)
    else:
        output.note("no device yet; add one with: tdedge devices add NAME URL")
    shown = [_shown(one) for one in known.values()]
    output.document({"schema_version": 1, "file": str(inventory.inventory_file()), "devices": shown})


@app.command("remove")
def remove(name: Name, json: opt.Json = False, quiet: opt.Quiet = False) -> None:
    """Take a device out of the inventory."""
    output = Output(json=json, quiet=quiet)
    from tdedge_devices import inventory

    gone = inventory.remove(name)
    output.note(f"removed {name} ({gone.shown_url()})")
    output.document({"schema_version": 1, "removed": _shown(gone)})


@app.command("doctor")
def doctor(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME|URL]...", help="Devices; by default all of the inventory."),
    ] = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Say of each device whether it can be reached, what it has, and what it lacks.

    Exit code: that of the first device that cannot do jobs.
    """
    output = Output(json=json, quiet=quiet)
    from concurrent.futures import ThreadPoolExecutor

    from tdedge.report.device_tables import doctor_table
    from tdedge_devices import inventory
    from tdedge_devices.doctor import examine

    known = inventory.read()
    chosen = [inventory.resolve(name, known) for name in names] if names else list(known.values())
    if not chosen:
        raise UsageError("there is no device to look at; add one with: tdedge devices add NAME URL")
    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        found = list(pool.map(examine, chosen))
    for one in found:
        output.table(doctor_table(one))
        if one["error"]:
            output.note(f"{one['name']}: {one['error']}")
    output.document({"schema_version": 1, "devices": found})
    failed = [one for one in found if one["error"]]
    if failed:
        from tdedge.errors import TdedgeError

        error = TdedgeError(f"not ready: {', '.join(one['name'] for one in failed)}")
        error.exit_code = failed[0]["exit_code"]
        raise error


def _settings(texts: list[str] | None) -> dict[str, str]:
    settings = {}
    for text in texts or ():
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise UsageError(f"--set {text!r}; expected KEY=VALUE such as python=/opt/venv/bin/python")
        settings[key.strip()] = value
    return settings


def _shown(device: Any) -> dict[str, Any]:
    return {"name": device.name, "url": device.shown_url(), "settings": device.shown_settings()}
