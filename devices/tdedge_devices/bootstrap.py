"""A Python on the device that has NumPy and a runtime: the one that is named, one that is there, a new one.

A new one is made only when asked for (the setting ``bootstrap = "yes"``): a virtual environment in the folder
of this program on the device, with the versions this program was tested with.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tdedge.errors import MissingError, UsageError
from tdedge_devices.shell import Done, Shell

#: Where files are kept on a device, relative to the login's home.
FOLDER = ".cache/tdedge"

#: The versions that are installed; those of constraints.txt. An older Python takes the newest it can run.
PINS = {
    "numpy": "2.4.6",
    "onnxruntime": "1.31.1",
    "openvino": "2026.4.1",
    "ai-edge-litert": "2.3.0",
}

#: The package that brings a runtime.
PACKAGE = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tflite": "ai-edge-litert"}

#: What stands in for a package where that has no wheels.
_ALSO = {"ai-edge-litert": ("tflite-runtime",)}

_OLDEST, _PINNED = (3, 10), (3, 11)
_DEFAULT_RUNTIMES = ("onnxruntime", "tflite")
_CANNOT_START = (126, 127)
_INSTALL_S = 1800.0
_PROBE_S = 120.0

# Looks packages up without importing them, which on a small device takes seconds; prints one JSON object.
_PROBE = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps({"python": list(sys.version_info[:2]), "versions": found}))
"""


def find_python(
    shell: Shell, settings: Mapping[str, str], *, folder: str = FOLDER, name: str = "the device"
) -> str:
    """An interpreter on the device with NumPy and the runtimes that are asked for.

    Args:
        shell: the way to the device.
        settings: ``python``: the interpreter to take; ``runtimes``: those it must have, with commas between
            (by default one of them is enough); ``bootstrap``: "yes" to install what is missing.
        folder: of this program on the device.
        name: the device, for messages.

    Raises:
        UsageError: a setting is wrong.
        MissingError: there is none; the message says what to run there.
        DeviceError: the device was lost.
    """
    wanted = runtimes(settings)
    may_install = _yes(settings, name)
    own = f"{folder}/venv/bin/python"
    named = settings.get("python", "")
    if named.startswith("~/"):  # commands start in the login's home and are quoted
        named = f".{named[1:]}"
    reasons: list[str] = []
    version: tuple[int, ...] = _PINNED
    for python in [named] if named else [own, "python3"]:
        found = _look(shell, python)
        if missing := _missing(found, wanted):
            if python != own or found.versions is not None:
                reasons.append(f"{python} {missing}")
            version = found.version or version
        else:
            return python
    pinned = version >= _PINNED
    names = ("numpy", *(PACKAGE[runtime] for runtime in wanted or _DEFAULT_RUNTIMES))
    packages = [f"{package}=={PINS[package]}" if pinned else package for package in names]
    if may_install and not named and version >= _OLDEST:
        return _install(shell, f"{folder}/venv", packages, name)
    raise MissingError(
        f"{name} has no Python with NumPy and a runtime ({'; '.join(reasons)}); run there: "
        f"{' && '.join(shlex.join(line) for line in _lines(f'{folder}/venv', packages))} , or set "
        'bootstrap = "yes", or name an interpreter that has them by the setting python'
    )


def runtimes(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The runtimes that the setting of this name asks for; none where it is absent.

    Raises:
        UsageError: one of them is unknown.
    """
    names = tuple(word.strip() for word in settings.get("runtimes", "").split(",") if word.strip())
    for runtime in names:
        if runtime not in PACKAGE:
            raise UsageError(f"the setting runtimes names {runtime!r}; expected some of {', '.join(PACKAGE)}")
    return names


def _yes(settings: Mapping[str, str], name: str) -> bool:
    answer = settings.get("bootstrap", "no")
    if answer not in ("yes", "no"):
        raise UsageError(f"the setting bootstrap of {name} is {answer!r}; expected yes or no")
    return answer == "yes"


@dataclass(frozen=True)
class _Found:
    """What an interpreter told: its version, its packages with theirs, or why it told nothing."""

    version: tuple[int, ...] | None = None
    versions: dict[str, str] | None = None
    reason: str = ""


def _look(shell: Shell, python: str) -> _Found:
    names = [*PINS, *(other for others in _ALSO.values() for other in others)]
    done = shell.run([python, "-c", _PROBE, *names], timeout_s=_PROBE_S)
    try:
        told = json.loads(done.stdout)
        return _Found(tuple(told["python"]), dict(told["versions"]))
    except (ValueError, KeyError, TypeError):
        absent = done.code in _CANNOT_START
        return _Found(reason="cannot be started" if absent else f"fails: {done.last_line}")


def _missing(found: _Found, wanted: Sequence[str]) -> str:
    """What is wrong with an interpreter, or nothing."""
    if found.version is None or found.versions is None:
        return found.reason
    if found.version < _OLDEST:
        return f"is Python {'.'.join(map(str, found.version))}; expected 3.10 or later"
    if "numpy" not in found.versions:
        return "has no numpy"
    there = {
        runtime
        for runtime, package in PACKAGE.items()
        if any(name in found.versions for name in (package, *_ALSO.get(package, ())))
    }
    if absent := [runtime for runtime in wanted if runtime not in there]:
        return f"has no {' and no '.join(PACKAGE[runtime] for runtime in absent)}"
    return "" if there else "has no runtime"


def _lines(venv: str, packages: Sequence[str]) -> list[list[str]]:
    return [
        ["python3", "-m", "venv", venv],
        [f"{venv}/bin/python", "-m", "pip", "install", "--only-binary", ":all:", *packages],
    ]


def _install(shell: Shell, venv: str, packages: Sequence[str], name: str) -> str:
    for line in _lines(venv, packages):
        done = shell.run(line, timeout_s=_INSTALL_S)
        if done.code:
            raise MissingError(f"{name}: {shlex.join(line)} failed: {_reason(done)}")
    return f"{venv}/bin/python"


def _reason(done: Done) -> str:
    errors = [
        line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("ERROR")
    ]
    return errors[-1] if errors else done.last_line or f"exit code {done.code}"
