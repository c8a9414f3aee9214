"""The settings file ``tdedge.toml``: one table per command, option names without the dashes.

Example::

    [export]
    to = "onnxruntime,openvino:float16"
    output = "build/net"
    force = true
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tdedge.errors import UsageError

DEFAULT = Path("tdedge.toml")


def option_keys(commands: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Command -> key a settings file may use -> name of the parameter behind it."""
    return {
        name: {
            key.removeprefix("--").replace("-", "_"): str(parameter.name)
            for parameter in command.params
            for key in (parameter.name, *(text for text in parameter.opts if text.startswith("--")))
        }
        for name, command in commands.items()
    }


def read_config(path: Path | None, keys: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Defaults for every command from ``path``, or from ``tdedge.toml`` in the working folder.

    Args:
        path: of the settings file.
        keys: the commands and their options, as :func:`option_keys` gives them.

    Raises:
        UsageError: when a named file is missing, a file is not TOML tables of options, or names a command
            or an option that does not exist.
    """
    if path is None:
        if not DEFAULT.is_file():
            return {}
        path = DEFAULT
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"settings file {path} is not TOML: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name!r} stands outside a table; expected tables such as [export]")
    return {command: _defaults(path, command, table, keys) for command, table in tables.items()}


def _defaults(
    path: Path, command: str, table: Mapping[str, Any], keys: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    if command not in keys:
        raise UsageError(f"{path}: [{command}] is no command; {_hint(command, keys)}")
    known = keys[command]
    defaults = {}
    for key, value in table.items():
        name = key.removeprefix("--").replace("-", "_")
        if name not in known:
            raise UsageError(f"{path}: [{command}] has no option {key!r}; {_hint(name, known)}")
        defaults[known[name]] = value
    return defaults


def _hint(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
