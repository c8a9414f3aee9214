"""The runtimes for browsers: fetched once, by ``python -m tdedge_devices.web.assets``, never at run time.

The packages are taken with ``npm pack`` in pinned versions, or from a folder that holds their .tgz files, and
are checked against pinned SHA-512 hashes. Only the files a page needs are unpacked, into the user's data
folder (``tdedge/web``) or a given one, with a list of their SHA-256.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tdedge.errors import MissingError, TdedgeError, UsageError

LIST = "assets.json"
COMMAND = "python -m tdedge_devices.web.assets"


@dataclass(frozen=True)
class Package:
    """One package of the registry, pinned.

    Attributes:
        name: its name there.
        version: its version.
        sha512: of the .tgz file, in base64.
        files: file in it -> name among the assets.
    """

    name: str
    version: str
    sha512: str
    files: dict[str, str]

    @property
    def tarball(self) -> str:
        """The name ``npm pack`` gives its file."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


_LITERT_WASM = [
    f"litert_wasm{build}_internal.{suffix}"
    for build in ("", "_compat", "_threaded")
    for suffix in ("js", "wasm")
]
_ORT = [
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
]

PACKAGES = (
    Package(
        "onnxruntime-web",
        "1.30.0",
        "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        {f"dist/{name}": name for name in _ORT},
    ),
    Package(
        "@litertjs/core",
        "2.5.3",
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        {"dist/index.js": "litert-core.js", **{f"wasm/{name}": name for name in _LITERT_WASM}},
    ),
    Package(
        "@litertjs/wasm-utils",
        "2.5.3",
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        {"dist/index.js": "litert-wasm-utils.js"},
    ),
)

#: The versions the page runs.
VERSIONS = {package.name: package.version for package in PACKAGES}


def default_folder() -> Path:
    """``tdedge/web`` in the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "tdedge" / "web"


def load(folder: Path | None = None) -> dict[str, Path]:
    """Name -> file of every asset, each checked against the list written with it.

    Raises:
        MissingError: they were never fetched, for other versions, or one is missing or changed.
    """
    chosen = folder or default_folder()
    fetch = f"fetch them once with: {COMMAND}" + (f" {folder}" if folder else "")
    try:
        listed = json.loads((chosen / LIST).read_bytes())
        versions, hashes = dict(listed["versions"]), dict(listed["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        raise MissingError(f"the runtimes for browsers are not in {chosen}; {fetch}") from None
    if versions != VERSIONS or set(hashes) != {name for p in PACKAGES for name in p.files.values()}:
        raise MissingError(f"the runtimes for browsers in {chosen} are of other versions; {fetch}")
    for name, digest in hashes.items():
        try:
            same = hmac.compare_digest(hashlib.sha256((chosen / name).read_bytes()).hexdigest(), str(digest))
        except OSError:
            same = False
        if not same:
            raise MissingError(f"{chosen / name} is missing or was changed; {fetch}")
    return {name: chosen / name for name in hashes}


def fetch(folder: Path, *, tarballs: Path | None = None, npm: str = "npm") -> None:
    """Fill ``folder`` with the assets; it appears whole or not at all.

    Args:
        folder: replaced where it already holds assets.
        tarballs: a folder with the packages' .tgz files; by default ``npm pack`` fetches them.
        npm: the command.

    Raises:
        MissingError: there is no npm, or a tarball is not there.
        UsageError: a tarball is not the pinned one, or the folder holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / LIST).is_file():
        raise UsageError(f"{folder} is not empty and holds no runtimes for browsers; choose another folder")
    with tempfile.TemporaryDirectory() as scratch:
        source = tarballs or _pack(Path(scratch), npm)
        part = _beside(folder)
        try:
            _fill(part, source)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _beside(folder: Path) -> Path:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UsageError(f"cannot write beside {folder}: {error.strerror}; choose another folder") from None
    part.chmod(0o755)
    return part


def _fill(folder: Path, source: Path) -> None:
    hashes = {}
    for package in PACKAGES:
        for name, content in _unpack(package, source / package.tarball).items():
            (folder / name).write_bytes(content)
            hashes[name] = hashlib.sha256(content).hexdigest()
    listed = {"versions": VERSIONS, "sha256": hashes}
    (folder / LIST).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def _pack(scratch: Path, npm: str) -> Path:
    if shutil.which(npm) is None:
        names = ", ".join(package.tarball for package in PACKAGES)
        raise MissingError(f"{npm} is not installed; install Node.js, or give --from FOLDER with {names}")
    wanted = [f"{package.name}@{package.version}" for package in PACKAGES]
    done = subprocess.run(  # noqa: S603 - npm and pinned names
        [npm, "pack", "--silent", *wanted], cwd=scratch, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise MissingError(f"npm pack failed: {lines[0].strip()}; check the network and run again")
    return scratch


def _unpack(package: Package, tarball: Path) -> dict[str, bytes]:
    try:
        content = tarball.read_bytes()
    except OSError as error:
        raise MissingError(f"cannot read {tarball}: {error.strerror}") from None
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if not hmac.compare_digest(digest, package.sha512):
        raise UsageError(f"{tarball.name} has the SHA-512 {digest}; expected {package.sha512}")
    files = {}
    with tarfile.open(tarball) as archive:
        for path, name in package.files.items():
            stream = archive.extractfile(f"package/{path}")
            if stream is None:
                raise UsageError(f"{tarball.name} holds no file {path}")
            files[name] = stream.read()
    return files


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Fetch the runtimes for browsers, once.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=default_folder(), help="by default %(default)s"
    )
    parser.add_argument("--from", dest="tarballs", type=Path, help="a folder with the packages' .tgz files")
    given = parser.parse_args(arguments)
    try:
        fetch(given.folder, tarballs=given.tarballs)
        files = load(given.folder)
    except TdedgeError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    size = sum(path.stat().st_size for path in files.values())
    print(f"{len(files)} files, {size / 1e6:.0f} MB, in {given.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
