"""An image that ``emulated:`` devices boot: Debian's arm64 kernel, a small system, Python and the runtimes.

    python -m tdedge_devices.arm64_image [FOLDER]

makes it (by default where ``emulated:`` looks, in the user's cache folder) in about a minute, on a Debian or
Ubuntu machine, without root; it is about 350 MB. The folder then holds

- ``kernel``, ``initramfs.cpio``: what qemu boots; the whole system lives in memory, each boot is a new one;
- ``key``: a private key that logs in, made here for this image; ``known_hosts``: the key it answers with;
- ``image.json``: versions of what is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tdedge.artifact import atomic_folder
from tdedge.errors import MissingError, TdedgeError, UsageError
from tdedge_devices import arm64_root

VERSION = 1
#: What the system calls itself.
_NAME = "tdedge-arm64"
#: In loading order; what the kernel has built in is not there and is left out.
_MODULES = (
    "virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "failover",
    "net_failover", "virtio_net",
)  # fmt: skip
_INIT = """#!/bin/busybox sh
# The first process: file systems, network, then sshd until it ends.
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
b=/bin/busybox
$b chmod 755 /
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs -o mode=1777 shm /dev/shm
for module in $($b cat /modules/order); do $b insmod /modules/$module; done
$b ifconfig lo 127.0.0.1 up
$b ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
$b hostname tdedge-arm64
echo "tdedge: sshd starts"
/usr/sbin/sshd -D -e
echo "tdedge: sshd ended with code $?"
$b poweroff -f
"""
_SSHD = """HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""
_TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": f"127.0.0.1 localhost {_NAME}\n",
    "etc/ssh/sshd_config": _SSHD,
}


@dataclass(frozen=True)
class Image:
    """A finished image.

    Attributes:
        folder: where it is.
        versions: of the packages of Python in it.
    """

    folder: Path
    versions: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> Image:
        """The image in a folder.

        Raises:
            MissingError: there is none, or one of another version of this program.
        """
        make = f"make it with: python -m tdedge_devices.arm64_image {folder}"
        try:
            about = json.loads((folder / "image.json").read_text(encoding="utf-8"))
            version, versions = about["version"], dict(about["versions"])
        except (OSError, ValueError, KeyError, TypeError):
            raise MissingError(f"{folder} holds no image of an arm64 system; {make}") from None
        if version != VERSION:
            raise MissingError(
                f"{folder} holds an image of version {version}, this is {VERSION}; {make} --force"
            )
        if lost := [name for name in ("kernel", "initramfs.cpio", "key") if not (folder / name).is_file()]:
            raise MissingError(f"{folder / lost[0]} is not there; {make} --force")
        return cls(folder, versions)

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.folder / "kernel"

    @property
    def initramfs(self) -> Path:
        """The system, a cpio archive."""
        return self.folder / "initramfs.cpio"

    @property
    def key(self) -> Path:
        """The private key that logs in."""
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        """The key it answers with, whatever port it is reached at."""
        return self.folder / "known_hosts"


def default_folder() -> Path:
    """``tdedge/arm64`` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "tdedge" / "arm64"


def build(folder: Path, *, mirror: str = arm64_root.MIRROR, force: bool = False) -> Image:
    """Make an image; an interrupted one leaves nothing.

    Args:
        folder: where; its parents are made.
        mirror: of Debian.
        force: replace one that is there.

    Raises:
        UsageError: the folder is taken, or a download failed.
        MissingError: a tool is not installed here.
    """
    if shutil.which("ssh-keygen") is None:
        raise MissingError("ssh-keygen is not installed; install it with: apt-get install openssh-client")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if force and (folder / "image.json").is_file():
        shutil.rmtree(folder)
    with tempfile.TemporaryDirectory() as name, atomic_folder(folder) as made:
        scratch = Path(name)
        root, kernel = scratch / "root", scratch / "kernel-files"
        versions = arm64_root.gather(root, kernel, scratch / "downloads", mirror=mirror)
        _set_up(root, kernel, made)
        shutil.copyfile(_one(kernel, "boot/vmlinuz-*"), made / "kernel")
        with (made / "initramfs.cpio").open("wb") as stream:
            write_cpio(root, stream)
        about = {"version": VERSION, "release": arm64_root.RELEASE, "versions": versions}
        (made / "image.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return Image.load(folder)


def _set_up(root: Path, kernel: Path, made: Path) -> None:
    """What the install scripts of the packages would have done, as far as a device needs it."""
    for folder in ("proc", "sys", "dev", "run/sshd", "tmp", "root", "var/tmp", "modules", "etc/ssh"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for path, text in _TEXTS.items():
        (root / path).write_text(text, encoding="utf-8")
    (root / "init").write_text(_INIT, encoding="utf-8")
    (root / "init").chmod(0o755)
    if not (root / "bin" / "sh").exists():
        (root / "bin" / "sh").symlink_to("dash")
    found = {path.stem: path for path in kernel.rglob("*.ko")}
    if "virtio_net" not in found:
        raise UsageError("the kernel package holds no virtio_net.ko that is not compressed")
    order = [name for name in _MODULES if name in found]
    for name in order:
        shutil.copyfile(found[name], root / "modules" / f"{name}.ko")
    (root / "modules" / "order").write_text("".join(f"{name}.ko\n" for name in order), encoding="utf-8")
    for key in (made / "key", root / "etc" / "ssh" / "host_key"):
        _new_key(key)
    shutil.move(made / "key.pub", root / "etc" / "ssh" / "authorized_keys")
    (root / "etc" / "ssh" / "authorized_keys").chmod(0o600)
    public = (root / "etc" / "ssh" / "host_key.pub").read_text(encoding="utf-8").split()
    (made / "known_hosts").write_text(f"* {public[0]} {public[1]}\n", encoding="utf-8")


def _new_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", _NAME, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - a fixed command


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise UsageError(f"the kernel package holds no {pattern}")
    return found[0]


def write_cpio(root: Path, stream: BinaryIO) -> None:
    """Write a folder as a ``newc`` archive in which everything belongs to root."""
    for number, path in enumerate(_walk(root), 1):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            content = os.fsencode(path.readlink())
        elif stat.S_ISREG(found.st_mode):
            content = path.read_bytes()
        else:
            content = b""
        name = path.relative_to(root).as_posix()
        _entry(stream, name, number, found.st_mode, int(found.st_mtime), content)
    # The kernel opens the console before the first process mounts /dev.
    _entry(stream, "dev/console", 0, stat.S_IFCHR | 0o600, 0, b"", device=(5, 1))
    _entry(stream, "TRAILER!!!", 0, 0, 0, b"")


def _walk(root: Path) -> Iterator[Path]:
    for path in sorted(root.iterdir()):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            yield path
        if stat.S_ISDIR(mode):
            yield from _walk(path)


def _entry(
    stream: BinaryIO,
    name: str,
    number: int,
    mode: int,
    modified: int,
    content: bytes,
    device: tuple[int, int] = (0, 0),
) -> None:
    encoded = os.fsencode(name) + b"\0"
    fields = (number, mode, 0, 0, 1, modified, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    for part in (header + encoded, content):
        stream.write(part + b"\0" * (-len(part) % 4))


def main() -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tdedge_devices.arm64_image",
        description="Make the arm64 system that emulated: devices boot; needs a Debian or Ubuntu machine.",
    )
    parser.add_argument("folder", nargs="?", type=Path, default=default_folder())
    parser.add_argument("--mirror", default=arm64_root.MIRROR, help="of Debian")
    parser.add_argument("--force", action="store_true", help="replace an image that is there")
    arguments = parser.parse_args()
    try:
        image = build(arguments.folder.resolve(), mirror=arguments.mirror, force=arguments.force)
    except TdedgeError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return error.exit_code
    size = sum(path.stat().st_size for path in image.folder.iterdir())
    packages = ", ".join(f"{name} {image.versions[name]}" for name in arm64_root.WHEELS)
    sys.stdout.write(f"wrote {image.folder}: {size / 1e6:.0f} MB, {packages}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
