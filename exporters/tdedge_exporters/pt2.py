"""Load a ``.pt2`` archive (``torch.export.save``) after a scan, and only for a user who trusts it.

Loading such an archive unpickles what its own metadata asks for, runs ``sympify`` (an ``eval``) on
symbolic sizes, resolves operators by name anywhere inside ``torch`` and loads compiled libraries. So the
archive is read with Python's zip reader, everything that is not a plain static graph over tensors is
refused, and what passed is written to a fresh archive in memory: torch never parses the original file.
"""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdedge.errors import UsageError
from tdedge_exporters.static import brief

if TYPE_CHECKING:
    from torch.export import ExportedProgram

MAX_ENTRIES = 10_000
MAX_BYTES = 8 << 30
#: Archives hold weights uncompressed; a member that shrinks further is a bomb.
MAX_RATIO = 100

_ALLOWED = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/(weights|constants)/[\w.]+|data/sample_inputs/model\.pt|extra/.*"
)
_OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+(\.\w+)?"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge)"
)


def load_pt2(path: Path) -> ExportedProgram:
    """The exported program in ``path``.

    Raises:
        UsageError: when the archive is not readable, holds anything but a static graph over tensors, or
            cannot be loaded.
    """
    entries = scan(path)
    import torch

    clean = io.BytesIO()
    with zipfile.ZipFile(clean, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(f"model/{name}", content)
    clean.seek(0)
    try:
        return torch.export.load(clean)
    except Exception as error:
        raise UsageError(f"{path} cannot be loaded by torch {torch.__version__}: {brief(error)}") from error


def scan(path: Path) -> dict[str, bytes]:
    """The members that loading needs, by name inside the archive, after every check.

    Raises:
        UsageError: names the member and what is wrong with it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            root = archive.infolist()[0].filename.split("/")[0] + "/"
            entries = {}
            for info in archive.infolist():
                name = info.filename.removeprefix(root)
                if not info.filename.startswith(root) or not _ALLOWED.fullmatch(name):
                    raise UsageError(f"{path}: member {info.filename!r} is no part of a plain graph; refused")
                if not name.startswith("extra/"):
                    entries[name] = archive.read(info)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UsageError(f"{path} is not a readable .pt2 archive: {brief(error)}") from error
    if "models/model.json" not in entries:
        raise UsageError(f"{path} is not a .pt2 archive of torch.export.save: it holds no models/model.json")
    for name, content in entries.items():
        if name.endswith(".json"):
            _check_json(content, f"{path}: {name}")
        elif name.endswith(".pt"):
            _check_pickle(content, f"{path}: {name}")
    return entries


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    names = [info.filename for info in members]
    if not members or len(members) > MAX_ENTRIES:
        raise UsageError(f"{path} holds {len(members)} members; expected 1 to {MAX_ENTRIES}")
    if len(set(names)) != len(names):
        raise UsageError(f"{path} holds two members of one name; refused")
    if sum(info.file_size for info in members) > MAX_BYTES:
        raise UsageError(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB; refused")
    for info in members:
        parts = info.filename.split("/")
        if ".." in parts or not parts[0] or "\\" in info.filename or ":" in info.filename:
            raise UsageError(f"{path}: member {info.filename!r} leads out of the archive; refused")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UsageError(f"{path}: member {info.filename!r} is a link; refused")
        if info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise UsageError(
                f"{path}: member {info.filename!r} grows {MAX_RATIO}-fold when unpacked; refused"
            )


def _check_json(content: bytes, where: str) -> None:
    try:
        _check_value(json.loads(content), where)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {brief(error)}") from error


def _check_value(value: Any, where: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check_value(item, where)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_key(key, item, where)
            _check_value(item, where)


def _check_key(key: str, item: Any, where: str) -> None:
    """Refuse what would be unpickled, evaluated or called."""
    if key == "use_pickle" and item is not False:
        raise UsageError(f"{where} asks for a pickled object (use_pickle); refused")
    if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(item)):
        raise UsageError(f"{where} refers to {item!r}, which is no tensor; refused")
    if key == "as_custom_obj" and item is not None:
        raise UsageError(f"{where} holds a custom object; refused")
    if key == "expr_str" or (key == "guards_code" and item):
        raise UsageError(f"{where} holds expressions to be evaluated; export it with static shapes")
    if key in ("target", "as_operator") and isinstance(item, str) and not _OPERATORS.fullmatch(item):
        raise UsageError(f"{where} calls {item!r}; only torch.ops.aten operators are accepted")


def _check_pickle(content: bytes, where: str) -> None:
    import torch

    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:
        raise UsageError(
            f"{where} holds pickled objects beside tensors (weights_only=True refuses): {brief(error, 120)}"
        ) from error
