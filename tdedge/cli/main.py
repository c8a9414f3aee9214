"""The ``tdedge`` command: the list of sub-commands, and how an error becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tdedge import __version__
from tdedge.cli import bench, compress, demo, devices, doctor, export, inspect, report, search, verify
from tdedge.errors import EXIT_INTERRUPTED, TdedgeError

app = typer.Typer(
    name="tdedge",
    help="Compress CNNs by tensor decomposition, export them to each runtime, prove the outputs equal, "
    "and measure what was gained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("inspect")(inspect.inspect)
app.command("compress")(compress.compress)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("bench")(bench.bench)
app.add_typer(devices.app)
app.command("search")(search.search)
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"tdedge {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings file; options given here win. [default: tdedge.toml if present]"),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Read the settings file, whose tables are named after the commands."""
    from tdedge.cli.config import option_keys, read_config

    commands = getattr(context.command, "commands", {})
    context.default_map = read_config(config, option_keys(commands))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with the code that ``tdedge.errors`` documents."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        result: Any = app(args=arguments, prog_name="tdedge", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        result = EXIT_INTERRUPTED
    except typer.Exit as stop:
        result = stop.exit_code
    except TdedgeError as error:
        return _fail(error.message, error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _from_elsewhere(error)
    if result == EXIT_INTERRUPTED:  # the parser turns Ctrl-C into this code by itself
        return _fail("interrupted; nothing was left half-written", EXIT_INTERRUPTED)
    return result if isinstance(result, int) else 0


def _from_elsewhere(error: Exception) -> int:
    """Errors that are not ours but are expected: usage errors of the parser, of a runtime, of the disk."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        if not error.format_message():  # no command given: the help was printed
            return 2
        context = getattr(error, "ctx", None)
        hint = f" (see: {context.command_path} --help)" if context else ""
        return _fail(error.format_message() + hint, 2)
    if isinstance(getattr(error, "exit_code", None), int):
        return _fail(" ".join(str(error).split()), error.exit_code)  # type: ignore[attr-defined]
    if isinstance(error, OSError) and error.filename is not None:
        return _fail(f"{error.filename}: {error.strerror}", 2)
    raise error


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"tdedge: {message}\n")
    return code


if __name__ == "__main__":
    main()
