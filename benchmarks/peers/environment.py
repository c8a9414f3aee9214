"""Environments of peers: made once from a pinned list, usable only after the last step succeeded."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tdedge.errors import MissingError

_STAMP = "tdedge-environment.json"


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds one peer.

    Attributes:
        folder: the virtual environment.
        installed_bytes: size of all its files, byte code included.
    """

    folder: Path
    installed_bytes: int

    @property
    def binaries(self) -> Path:
        """The folder of its commands."""
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.binaries / ("python.exe" if os.name == "nt" else "python")


def cache_folder() -> Path:
    """Where environments are kept: ``tdedge/benchmarks`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tdedge" / "benchmarks"


def environment(name: str, requirements: Path, cache: Path) -> Environment:
    """The environment of one peer; made when it is not there, or was made from another list or Python.

    A stamp is written last: what an interrupted build left behind is removed and made again.

    Args:
        name: folder below ``cache``.
        requirements: list of pinned packages, as pip reads it.
        cache: folder of all environments.

    Raises:
        MissingError: it cannot be made; the message ends with what pip said.
    """
    folder = cache / name
    made_from = {
        "requirements_sha256": hashlib.sha256(requirements.read_bytes()).hexdigest(),
        "python": platform.python_version(),
    }
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
        if all(stamp[key] == value for key, value in made_from.items()):
            return Environment(folder, int(stamp["installed_bytes"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent, or left by a build that did not end
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _command(name, [sys.executable, "-m", "venv", str(folder)])
    python = str(Environment(folder, 0).python)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
    _command(name, [python, *pip, "-r", str(requirements)])
    made = Environment(folder, folder_bytes(folder))
    text = json.dumps({**made_from, "installed_bytes": made.installed_bytes})
    part = folder / f"{_STAMP}.part"
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(folder / _STAMP)
    return made


def folder_bytes(folder: Path) -> int:
    """Size of all files of a folder; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _command(name: str, command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        said = " ".join(errors) or f"exit code {done.returncode}"
        raise MissingError(f"the environment of {name} cannot be made with {Path(command[0]).name}: {said}")
