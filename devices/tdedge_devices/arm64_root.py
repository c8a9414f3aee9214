"""The files of a small arm64 system with Python and the runtimes, gathered on any machine and without root.

apt resolves, fetches and verifies Debian's own packages into folders of its own, pip the wheels; both are
only unpacked, nothing of them is run. What Debian's install scripts would have set up (users, links) is
little and is written by :mod:`tdedge_devices.arm64_image`.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from tdedge.errors import MissingError, UsageError

#: The Debian release that is taken; its Python and its kernel fix the next two.
RELEASE = "bookworm"
PYTHON = "3.11"
MIRROR = "http://deb.debian.org/debian"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

#: What a device has, with all it depends on; shells and tools of a usual small system.
PACKAGES = (
    "python3", "openssh-server", "libstdc++6", "libgomp1", "dash", "coreutils", "util-linux", "procps",
    "findutils", "grep", "sed", "gzip", "tar", "busybox-static",
)  # fmt: skip
_KERNEL = "linux-image-arm64"
#: What nothing on the device opens.
_NOT_NEEDED = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl", "usr/share/perl5",
    "usr/share/i18n", "usr/share/zoneinfo", "usr/share/info", "usr/share/lintian",
    "usr/share/bash-completion", "usr/lib/aarch64-linux-gnu/perl", "usr/lib/aarch64-linux-gnu/perl-base",
    "usr/lib/aarch64-linux-gnu/gconv", "usr/lib/udev", "lib/udev", "lib/systemd",
)  # fmt: skip
#: Where Debian's Python finds what pip installed.
SITE = f"usr/local/lib/python{PYTHON}/dist-packages"
#: Wheels of the runtimes, in the versions installed here so that a device runs what a plan was checked with.
WHEELS = ("numpy", "onnxruntime", "ai-edge-litert")


def gather(root: Path, kernel: Path, scratch: Path, *, mirror: str = MIRROR) -> dict[str, str]:
    """Fill ``root`` with the system and ``kernel`` with a kernel and its modules.

    Args:
        root: an empty folder.
        kernel: another one.
        scratch: for what is downloaded.
        mirror: of Debian.

    Returns:
        Version of every package of Python that was installed.

    Raises:
        MissingError: a tool of Debian's is not installed here.
        UsageError: a download failed.
    """
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingError(f"{tool} is not installed; an image is made by tools of Debian's")
    apt = _apt_settings(scratch, mirror)
    _run(["apt-get", *apt, "-qq", "update"])
    _run(["apt-get", *apt, "-qq", "-y", "--download-only", "install", *PACKAGES])
    _unpack(scratch / "cache" / "archives", root)
    image = scratch / "kernel"
    image.mkdir()
    depends = _run(["apt-cache", *apt, "depends", "--important", _KERNEL])
    names = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line]
    _run(["apt-get", *apt, "-qq", "download", *names[:1]], cwd=image)
    _unpack(image, kernel)
    _install_wheels(root / SITE)
    for name in _NOT_NEEDED:
        shutil.rmtree(root / name, ignore_errors=True)
    _compile(root)
    return _versions(root / SITE)


def _apt_settings(scratch: Path, mirror: str) -> list[str]:
    """Options that keep apt off this machine's own packages, lists and locks."""
    for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
        (scratch / folder).mkdir(parents=True, exist_ok=True)
    (scratch / "status").touch()
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    sources = scratch / "etc" / "sources.list"
    sources.write_text(f"deb {signed}{mirror} {RELEASE} main\n", encoding="utf-8")
    values = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::State": str(scratch / "state"),
        "Dir::State::status": str(scratch / "status"),
        "Dir::Cache": str(scratch / "cache"),
        "Dir::Etc::sourcelist": str(sources),
        "Dir::Etc::sourceparts": "-",
    }
    return [part for name, value in values.items() for part in ("-o", f"{name}={value}")]


def _unpack(folder: Path, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for package in sorted(folder.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(root)])


def _install_wheels(site: Path) -> None:
    wanted = []
    for name in WHEELS:
        try:
            wanted.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            wanted.append(name)
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1)] + ["manylinux2014_aarch64"]
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"]
        + [part for platform in platforms for part in ("--platform", platform)]
        + ["--python-version", PYTHON, "--implementation", "cp", "--target", str(site), *wanted]
    )


def _compile(root: Path) -> None:
    """Compile Python's files where this interpreter's byte code is the device's; else the device does."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != PYTHON:
        return
    for folder in (f"usr/lib/python{PYTHON}", SITE):
        compileall.compile_dir(
            root / folder,
            quiet=2,
            stripdir=str(root),
            prependdir="/",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _versions(site: Path) -> dict[str, str]:
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions(path=[str(site)])}
    return dict(sorted(found.items()))


def _run(command: Sequence[str], *, cwd: Path | None = None) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(  # noqa: S603 - fixed commands, no shell
        command, cwd=cwd, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if line.startswith(("E:", "ERROR", "error")) or "error:" in line]
        last = (errors or said or ["no message"])[-1]
        raise UsageError(f"{Path(command[0]).name} ended with code {done.returncode}: {last}")
    return done.stdout
