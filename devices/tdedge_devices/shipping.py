"""Files of this machine on a device, kept there under their SHA-256, so that each travels once.

    FOLDER/files/DIGEST/NAME    a file and what must lie beside it; DIGEST is of all of them together
    FOLDER/jobs/TOKEN/          what a job writes; removed with it

Folders of files that no job asked for in a week are removed, and those of jobs that lost their host a day
ago.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tdedge.errors import DeviceError
from tdedge_devices.shell import Shell
from tdedge_runtimes.errors import RuntimeInputError

_NOT_WRITABLE = 73
_SPARE_BYTES = 1 << 20  # for what a job itself writes
_CHUNK = 1 << 20

# $1 the folder, then PATH SIZE SHA256 of every file that may be there. Prints the folder's full path, its
# free blocks and their size, and a line "has PATH" for each that is whole; then marks these as used.
_LOOK = f"""
mkdir -p -m 700 "$1" && mkdir -p "$1/files" "$1/jobs" && cd "$1" && [ -w files ] || exit {_NOT_WRITABLE}
find files -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {{}} + 2>/dev/null
find jobs -mindepth 1 -maxdepth 1 -mtime +1 -exec rm -rf {{}} + 2>/dev/null
pwd -P && stat -f -c '%a %S' . || exit {_NOT_WRITABLE}
shift
while [ $# -gt 2 ]; do
    if [ -f "$1" ] && [ "$(wc -c < "$1")" -eq "$2" ]; then
        sum=$(sha256sum "$1")
        [ "${{sum%% *}}" = "$3" ] && echo "has $1" && touch "${{1%/*}}"
    fi
    shift 3
done
exit 0
"""


@dataclass(frozen=True)
class Parcel:
    """Files that lie in one folder, the first of which is the one that is opened.

    Attributes:
        digest: SHA-256 of all of them with their names, shortened.
        files: path relative to the folder, the file here, its size and its SHA-256.
    """

    digest: str
    files: tuple[tuple[str, Path, int, str], ...]

    @classmethod
    def of(cls, path: Path) -> Parcel:
        """A file with those it cannot be opened without.

        Raises:
            RuntimeInputError: one of them is absent or cannot be read.
        """
        files = [(path.name, path), *_companions(path)]
        entries = tuple((name, file, *_size_and_sha256(file)) for name, file in files)
        text = "\n".join(f"{digest} {name}" for name, _, _, digest in entries)
        return cls(hashlib.sha256(text.encode()).hexdigest()[:24], entries)

    @property
    def folder(self) -> str:
        """Where it lies on a device, relative to the folder of the jobs."""
        return f"files/{self.digest}"


class Store:
    """The folder on a device that holds its files and jobs.

    Args:
        shell: the way to the device.
        folder: the folder there, relative to where commands start, or absolute.
        name: the device, for messages.
    """

    def __init__(self, shell: Shell, folder: str, name: str) -> None:
        self._shell, self._folder, self._name = shell, folder, name
        self._root = ""
        self._there: set[str] = set()
        self._parcels: dict[tuple[str, int, int], Parcel] = {}

    @property
    def root(self) -> str:
        """The full path of the folder on the device; known once something was put there."""
        return self._root

    def parcel(self, path: str) -> Parcel:
        """The parcel of a file of this machine, looked up by its path, size and time where it has no company.

        Raises:
            RuntimeInputError: there is no such file.
        """
        try:
            stat = Path(path).stat()
        except OSError as error:
            raise RuntimeInputError(f"no file at {path!r}: {error.strerror}") from None
        key = (os.path.abspath(path), stat.st_size, stat.st_mtime_ns)  # noqa: PTH100 - keeps links
        if key not in self._parcels:
            parcel = Parcel.of(Path(path))
            if len(parcel.files) > 1:
                return parcel
            self._parcels[key] = parcel
        return self._parcels[key]

    def put(self, parcels: Iterable[Parcel]) -> None:
        """Bring parcels to the device, as far as they are not there.

        Raises:
            DeviceError: the device is full, cannot be written to, or was lost.
        """
        wanted = {p.digest: p for p in parcels if p.digest not in self._there}
        if not wanted and self._root:
            return
        files = [
            (f"{parcel.folder}/{name}", path, size, digest)
            for parcel in wanted.values()
            for name, path, size, digest in parcel.files
        ]
        free, present = self._look([(path, size, digest) for path, _, size, digest in files])
        missing = [(path, file, size) for path, file, size, _ in files if path not in present]
        if (needed := sum(size for *_, size in missing) + _SPARE_BYTES) > free and missing:
            raise DeviceError(
                f"{self._name} is full: {self._root} has {_megabytes(free)} left and the files need "
                f"{_megabytes(needed)}; make room there, or choose another place by the setting folder"
            )
        for path, file, _ in missing:
            self._shell.push(file, f"{self._root}/{path}")
        self._there |= set(wanted)

    def put_bytes(self, name: str, content: bytes) -> str:
        """Bring some bytes as a file of this name to the device; its full path there.

        Raises:
            DeviceError: as ``put``.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            parcel = Parcel.of(path)
            self.put([parcel])
        return f"{self._root}/{parcel.folder}/{name}"

    def path(self, parcel: Parcel) -> str:
        """The full path on the device of the file of a parcel that is opened."""
        return f"{self._root}/{parcel.folder}/{parcel.files[0][0]}"

    def forget(self) -> None:
        """Look again at what is there: something of it may have gone."""
        self._there.clear()

    def _look(self, files: list[tuple[str, int, str]]) -> tuple[int, set[str]]:
        words = [str(word) for file in files for word in file]
        done = self._shell.run(["sh", "-c", _LOOK, "sh", self._folder, *words], timeout_s=300)
        lines = done.stdout.decode(errors="replace").splitlines()
        if done.code or len(lines) < 2:
            reason = done.last_line or f"exit code {done.code}"
            raise DeviceError(f"{self._name}: the folder {self._folder} cannot be used: {reason}")
        self._root = lines[0]
        blocks, size = lines[1].split()
        return int(blocks) * int(size), {line.removeprefix("has ") for line in lines[2:]}


def _companions(path: Path) -> list[tuple[str, Path]]:
    """What lies beside a model file and is read with it: weights of OpenVINO, external data of ONNX."""
    if path.suffix == ".xml":
        weights = path.with_suffix(".bin")
        return [(weights.name, weights)] if weights.exists() else []
    if path.suffix == ".onnx" and b"location" in path.read_bytes():
        import onnx
        from onnx.external_data_helper import ExternalDataInfo, uses_external_data

        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception:
            return []  # no ONNX file: the runtime on the device says so
        names = {
            ExternalDataInfo(tensor).location
            for tensor in model.graph.initializer
            if uses_external_data(tensor)
        }
        inside = path.resolve().parent
        for name in names:
            if not (inside / name).resolve().is_relative_to(inside):
                raise RuntimeInputError(f"{path.name} names external data outside its folder: {name!r}")
        return [(name, path.parent / name) for name in sorted(names)]
    return []


def _size_and_sha256(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise RuntimeInputError(f"no file at {str(path)!r}: {error.strerror}") from None
    return size, digest.hexdigest()


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
