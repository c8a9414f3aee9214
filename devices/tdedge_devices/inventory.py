"""The devices a user has named: ``devices.toml``, one table per device.

    [devices.pi5]
    url = "ssh://pi@192.0.2.7"
    python = "/opt/venv/bin/python"

Every key beside ``url`` is a setting of that kind of device. The file lies where ``TDEDGE_DEVICES`` says, or
in the user's configuration folder. It is changed as text, table by table, so that comments stay, and is
readable by its owner alone.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tdedge.artifact import atomic_file
from tdedge.errors import UsageError
from tdedge_devices import address

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECRET = re.compile(r"pass(word|phrase)|secret|token|credential", re.IGNORECASE)
_HEADER = re.compile(r"\s*\[")
_HIDDEN = "***"


@dataclass(frozen=True)
class Named:
    """A device of the inventory.

    Attributes:
        name: what the user calls it; its address where it has no name.
        url: its address.
        settings: more than fits an address.
    """

    name: str
    url: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def shown_url(self) -> str:
        """The address without a password."""
        return without_password(self.url)

    def shown_settings(self) -> dict[str, str]:
        """The settings; those that look like a secret are hidden."""
        return {key: _HIDDEN if _SECRET.search(key) else value for key, value in self.settings.items()}


def without_password(url: str) -> str:
    """An address whose password, if it has one, is hidden."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    user, _, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    return urlunsplit(parts._replace(netloc=f"{name}:{_HIDDEN}@{host}")) if colon else url


def inventory_file() -> Path:
    """Where the inventory is kept."""
    if given := os.environ.get("TDEDGE_DEVICES"):
        return Path(given)
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return folder / "tdedge" / "devices.toml"


def read(path: Path | None = None) -> dict[str, Named]:
    """The named devices, in the order of the file; none where there is no file.

    Raises:
        UsageError: the file is no inventory.
    """
    path = path or inventory_file()
    return _parse(_text(path), path)


def add(name: str, url: str, settings: Mapping[str, str], *, force: bool = False) -> Named:
    """Add a device, or with ``force`` replace the one of this name.

    Raises:
        UsageError: a bad name or address, a name that is taken, or a file that cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"device name {name!r}; expected letters, digits, '_', '-' and '.', such as pi5")
    address.split(url)
    if "url" in settings:
        raise UsageError("--set url=...: the address is given by itself, after the name")
    path = inventory_file()
    text = _text(path)
    known = _parse(text, path)
    if name in known and not force:
        raise UsageError(
            f"device {name!r} is there already ({known[name].shown_url()}); pass --force to replace it"
        )
    added = Named(name, url, dict(settings))
    lines = [f"[devices.{_key(name)}]", f"url = {_string(url)}"]
    lines += [f"{_key(key)} = {_string(value)}" for key, value in settings.items()]
    rest = _without(text, name).rstrip()
    _write(path, (rest + "\n\n" if rest else "") + "\n".join(lines) + "\n", {**known, name: added})
    return added


def remove(name: str) -> Named:
    """Take a device out of the inventory.

    Raises:
        UsageError: there is none of this name, or the file cannot be written.
    """
    path = inventory_file()
    text = _text(path)
    known = _parse(text, path)
    if name not in known:
        raise UsageError(_unknown(name, known))
    gone = known.pop(name)
    _write(path, _without(text, name), known)
    return gone


def resolve(name_or_url: str, known: Mapping[str, Named] | None = None) -> Named:
    """The device of this name, or the one at this address.

    Raises:
        UsageError: neither.
    """
    known = read() if known is None else known
    if name_or_url in known:
        return known[name_or_url]
    if ":" not in name_or_url:
        raise UsageError(_unknown(name_or_url, known))
    address.split(name_or_url)
    return Named(without_password(name_or_url), name_or_url)


def resolve_all(names: str) -> list[Named]:
    """The devices of a comma-separated list of names and addresses.

    Raises:
        UsageError: one is unknown, or given twice.
    """
    known = read()
    found = [resolve(word.strip(), known) for word in names.split(",") if word.strip()]
    if not found:
        raise UsageError(f"--on {names!r} names no device; expected names or addresses such as pi5,local:")
    for place, one in enumerate(found):
        if any(one.name == other.name or one.url == other.url for other in found[:place]):
            raise UsageError(f"--on names the device {one.name!r} twice")
    return found


def _unknown(name: str, known: Mapping[str, Named]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return f"there is no device {name!r} ({hint}); add it with: tdedge devices add {name} URL"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _parse(text: str, path: Path) -> dict[str, Named]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    devices = document.pop("devices", {})
    if document or not isinstance(devices, dict):
        stray = next(iter(document), "devices")
        raise UsageError(f"{path}: {stray!r} is not expected; every device is a table [devices.NAME]")
    found = {}
    for name, table in devices.items():
        if not isinstance(table, dict) or not isinstance(table.get("url"), str):
            raise UsageError(f'{path}: [devices.{name}] needs a text url, such as url = "ssh://pi@192.0.2.7"')
        odd = [key for key, value in table.items() if not isinstance(value, str | int | float)]
        if odd:
            raise UsageError(f"{path}: [devices.{name}] {odd[0]} must be a text or a number")
        settings = {key: _setting(value) for key, value in table.items() if key != "url"}
        found[name] = Named(name, table["url"], settings)
    return found


def _setting(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _write(path: Path, text: str, expected: Mapping[str, Named]) -> None:
    if _parse(text, path) != expected:
        raise UsageError(f"{path} is written in a way that is not changed here; edit it by hand")
    with atomic_file(path, force=True) as part:
        part.touch(mode=0o600)
        part.write_text(text, encoding="utf-8")


def _without(text: str, name: str) -> str:
    """The text less the table of one device; comments above its header stay."""
    wanted = {f"[devices.{_key(name)}]", f'[devices."{name}"]'}
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if _HEADER.match(line):
            inside = line.split("#")[0].strip() in wanted
        if not inside:
            kept.append(line)
    return "".join(kept)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _string(value: str) -> str:
    """A TOML string; JSON's escapes are TOML's, but for DEL, which JSON leaves as it is."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
