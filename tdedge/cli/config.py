"""The settings file ``tdedge.toml``: one table per command, option names without the dashes.

Example::

    [export]
    to = "onnxruntime,openvino:float16"
    force = true
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tdedge.errors import UsageError

DEFAULT = Path("tdedge.toml")


def read_config(path: Path | None) -> dict[str, Any]:
    """Defaults for every command from ``path``, or from ``tdedge.toml`` in the working folder.

    Raises:
        UsageError: when a named file is missing, or a file is not TOML tables of options.
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
    return {
        command: {key.replace("-", "_"): value for key, value in table.items()}
        for command, table in tables.items()
    }
