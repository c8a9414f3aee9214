"""The programs a user gives for a device: settings with their path and their SHA-256, which must agree."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tdedge.errors import MissingError, UsageError

_DIGEST = re.compile(r"[0-9a-f]{64}")

#: Setting -> where such a program comes from.
SOURCES = {
    "benchmark_model": "published for android_arm64 beside LiteRT's releases",
    "onnxruntime_perf_test": "built from ONNX Runtime's sources with the Android NDK",
}


@dataclass(frozen=True)
class Binary:
    """A program of this machine that is for a device.

    Attributes:
        name: a name of ``SOURCES``.
        path: the file.
        sha256: of its content; checked.
    """

    name: str
    path: Path
    sha256: str

    @classmethod
    def of(cls, name: str, settings: Mapping[str, str]) -> Binary:
        """The program of a setting, checked.

        Raises:
            MissingError: the setting is absent.
            UsageError: no such file, no SHA-256 beside it, or another one than the file's.
        """
        if not (given := settings.get(name)):
            raise MissingError(
                f"this device needs the program {name} ({SOURCES[name]}): set {name} = PATH and "
                f"{name}_sha256 = DIGEST for it in devices.toml"
            )
        path = Path(given).expanduser()
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UsageError(f"{name} = {given!r} cannot be read: {error.strerror}") from None
        expected = settings.get(f"{name}_sha256", "").lower()
        if not _DIGEST.fullmatch(expected):
            raise UsageError(
                f"{name}_sha256 is {expected!r}; expected the SHA-256 of {given!r} (64 hexadecimal digits) "
                "from where you got it, so that nothing else is run on the device"
            )
        if found != expected:
            raise UsageError(
                f"{given!r} has the SHA-256 {found}; {name}_sha256 says {expected}: it is another file"
            )
        return cls(name, path, found)
