"""A phone: Debian's real ``adbd`` in a network namespace and a file system of its own; and an ``adb`` server.

    with adb_server(), Phone() as phone:
        shell = AdbShell.connect(phone.serial)

adbd answers on all addresses without a password, so it lives in a network namespace with one wire to this
machine. Its root is a new tmpfs with this machine's /usr read-only, its own /data/local/tmp of a fixed size
and a /system/bin for commands an Android has and Debian has not, as shell scripts. Everything of a phone ends
with it. Needs root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

CACHE = Path("~/.cache/tdedge-tests/adbd").expanduser()
RELEASE = "trixie"  # the first Debian with adbd
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
PHONES = range(16)

# What a phone mounts; $1 is its folder, $2 adbd's files, $3 the size of its data, $4 the files of Android's
# shell or nothing, then folders to show.
MOUNTS = """set -e
mount --make-rprivate /
root=$1 adbd=$2 size=$3 android=$4
shift 4
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr proc dev sys etc root run var/tmp tmp system/bin adbd data/local/tmp
chmod 1777 tmp var/tmp
for name in sbin lib lib64; do ln -s usr/$name $name; done
path=/system/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ -n "$android" ]; then
  path=/system/bin
  mkdir bin
  cp "$android/bin/mksh" bin/sh
  cp "$android/bin/mksh" "$android/bin/toybox" system/bin
  ln -s mksh system/bin/sh
  for name in $(./system/bin/toybox); do [ -e system/bin/$name ] || ln -s toybox system/bin/$name; done
else
  ln -s usr/bin bin
fi
for name in usr etc; do mount --bind /$name $name; mount -o remount,bind,ro $name; done
for name in proc dev sys; do mount --rbind /$name $name; done
mount --bind "$adbd" adbd
mount -t tmpfs -o size="$size",mode=771 tmpfs data/local/tmp
for folder; do mkdir -p ".$folder"; mount --bind "$folder" ".$folder"; done
lib=/adbd/usr/lib/x86_64-linux-gnu
export PATH=$path HOME=/root TMPDIR=/data/local/tmp
exec /usr/sbin/chroot . $lib/ld-linux-x86-64.so.2 --library-path $lib:$lib/android \\
  /adbd/usr/lib/android-sdk/platform-tools/adbd
"""


def install_adb() -> str:
    """The path of the real ``adb`` command; installed where it is not."""
    if shutil.which("adb") is None:
        with _locked("adb"):
            if shutil.which("adb") is None:
                apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
                run(*apt, "update")
                run(*apt, "install", "-y", "--no-install-recommends", "adb")
    found = shutil.which("adb")
    assert found, "the package adb has no command adb"
    return found


def adbd_files() -> Path:
    """The folder of Debian's adbd and all it needs, unpacked, not installed; fetched once."""
    files = CACHE / "files"
    with _locked("files"):
        if files.is_dir():
            return files
        new = CACHE / "files.new"
        shutil.rmtree(new, ignore_errors=True)
        apt = _private_apt(CACHE / "apt")
        run("apt-get", *apt, "-qq", "update")
        run("apt-get", *apt, "-qq", "-y", "--download-only", "install", "adbd")
        for package in sorted((CACHE / "apt/cache/archives").glob("*.deb")):
            run("dpkg-deb", "-x", str(package), str(new))
        shutil.rmtree(CACHE / "apt")
        new.rename(files)
    return files


def android_shell() -> Path:
    """The folder of mksh and toybox, unpacked: the shell and the commands of every Android; fetched once."""
    files = CACHE / "android"
    with _locked("android"):
        if not files.is_dir():
            new = CACHE / "android.new"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            apt = _private_apt(new / "apt", release="")
            run("apt-get", *apt, "-qq", "update")
            run("apt-get", *apt, "-qq", "-y", "--download-only", "install", "mksh", "toybox")
            for package in sorted((new / "apt/cache/archives").glob("*.deb")):
                if package.name.startswith(("mksh_", "toybox_")):
                    run("dpkg-deb", "-x", str(package), str(new))
            shutil.rmtree(new / "apt")
            new.rename(files)
    return files


@contextlib.contextmanager
def adb_server() -> Iterator[int]:
    """A server of ``adb`` for the tests alone, on a port that the environment names meanwhile."""
    adb = install_adb()
    home = CACHE / "home"
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    # Without the second, the server looks for emulators by itself and finds phones twice.
    settings = {"ANDROID_ADB_SERVER_PORT": str(port), "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        with (CACHE / "server.log").open("wb") as log:  # a pipe would stay open with the server
            subprocess.run(
                [adb, "start-server"],
                check=True,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(home)},
            )
        yield port
    finally:
        subprocess.run([adb, "kill-server"], check=False, capture_output=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Phone:
    """One phone; use it as a context manager.

    Attributes:
        serial: what ``adb -s`` takes, an address HOST:PORT.
        namespace: its network namespace, as ``ip netns`` names it.
        address: its own IP address.
        host_address: this machine's, at the other end of the wire.
    """

    def __init__(
        self,
        *,
        commands: Mapping[str, str] | None = None,
        data: str = "256m",
        folders: Sequence[Path | str] = (),
        android: bool = False,
    ) -> None:
        """A phone that is off.

        Args:
            commands: name -> text of a shell script in its /system/bin, such as getprop.
            data: size of its /data/local/tmp.
            folders: more folders of this machine to show there, at the same paths.
            android: whether its shell and its commands are those of Android, mksh and toybox, and no others.
        """
        assert os.geteuid() == 0, (
            "a phone is a network namespace and mounts; run the tests of devices as root"
        )
        self._commands = dict(commands or {})
        self._data, self._folders = data, [str(folder) for folder in folders]
        self._android = android
        self._place = contextlib.ExitStack()
        self._number = self._take_number()
        self.namespace = f"tdedge-phone{self._number}"
        self.host_address, self.address = (f"10.203.{self._number}.{end}" for end in (1, 2))
        self.serial = f"{self.address}:5555"
        self._wire = f"tdphone{self._number}"
        self._folder = CACHE / f"phone{self._number}"
        self._adbd: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        """Its root folder, as seen from here, while it is on."""
        assert self._adbd is not None, "the phone is off"
        return Path(f"/proc/{self._adbd.pid}/root")

    def switch_on(self) -> None:
        """Start it; adbd listens when this returns."""
        files = adbd_files()
        self._folder.mkdir(parents=True, exist_ok=True)
        if not Path("/run/netns", self.namespace).exists():
            run("ip", "netns", "add", self.namespace)
            run(
                "ip",
                "link",
                "add",
                self._wire,
                "type",
                "veth",
                "peer",
                "name",
                "wire",
                "netns",
                self.namespace,
            )
            run("ip", "addr", "add", f"{self.host_address}/30", "dev", self._wire)
            run("ip", "link", "set", self._wire, "up")
            run("ip", "-n", self.namespace, "addr", "add", f"{self.address}/30", "dev", "wire")
            run("ip", "-n", self.namespace, "link", "set", "wire", "up")
            run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        with (CACHE / f"phone{self._number}.log").open("wb") as log:
            enter = ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--mount"]
            android = str(android_shell()) if self._android else ""
            given = [str(self._folder), str(files), self._data, android, *self._folders]
            self._adbd = subprocess.Popen(
                [*enter, "sh", "-c", MOUNTS, "sh", *given],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._listens, f"adbd of {self.namespace} listens; see {log.name}")
        for name, script in self._commands.items():
            self.add_command(name, script)

    def add_command(self, name: str, script: str) -> None:
        """Put a shell script of this name into /system/bin."""
        path = self.root / "system/bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def kill(self) -> None:
        """Kill adbd, and nothing else: what a phone does that is switched off or loses its cable."""
        if self._adbd is not None:
            self._adbd.kill()
            self._adbd.wait()
            self._adbd = None

    def set_wire(self, up: bool) -> None:
        """Cut its network without a word to either end, or mend it."""
        run("ip", "link", "set", self._wire, "up" if up else "down")

    def processes(self) -> list[str]:
        """The command lines of what runs on it, but adbd."""
        return list(self._commands_by_pid().values())

    def kill_processes(self, text: str) -> int:
        """Kill what runs on it with this text in its command line; how many these were."""
        pids = [pid for pid, line in self._commands_by_pid().items() if text in line]
        for pid in pids:
            os.kill(pid, 9)
        return len(pids)

    def _commands_by_pid(self) -> dict[int, str]:
        found = {}
        for pid in self._pids():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if line and not line.endswith("/adbd"):
                    found[pid] = line
        return found

    def _pids(self) -> list[int]:
        command = ["ip", "netns", "pids", self.namespace]
        return [int(pid) for pid in subprocess.run(command, capture_output=True, check=False).stdout.split()]

    def switch_off(self) -> None:
        """End it and everything of it."""
        self.kill()
        if shutil.which("adb") and "ANDROID_ADB_SERVER_PORT" in os.environ:
            subprocess.run(["adb", "disconnect", self.serial], capture_output=True, check=False)
        for pid in self._pids():
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        subprocess.run(["ip", "link", "del", self._wire], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)

    def __enter__(self) -> Self:
        try:
            self.switch_off()  # what a test run that was killed may have left
            self.switch_on()
        except BaseException:
            self.switch_off()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.switch_off()
        self._place.close()

    def _take_number(self) -> int:
        for number in PHONES:
            with contextlib.suppress(BlockingIOError):
                self._place.enter_context(_locked(f"phone{number}", wait=False))
                return number
        raise AssertionError(f"all {len(PHONES)} phones are in use")

    def _listens(self) -> bool:
        assert self._adbd is not None
        assert self._adbd.poll() is None, f"adbd ended: {(CACHE / f'phone{self._number}.log').read_text()}"
        with contextlib.suppress(OSError), socket.create_connection((self.address, 5555), timeout=0.2):
            return True
        return False


def wait_until(is_so: Callable[[], bool], what: str, *, timeout_s: float = 20.0) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it never was.
    """
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, f"waited {timeout_s:g} s in vain until {what}"
        time.sleep(0.02)


def run(*command: str) -> str:
    """What a command prints; its own words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout


def _private_apt(folder: Path, release: str = RELEASE) -> list[str]:
    """Options that keep apt off this machine's packages; its mirror, and its release if none is given."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    told = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    if not (sources := run(*told)):  # a machine that has not asked its mirror yet
        run("apt-get", "-qq", "update")
        sources = run(*told)
    pairs = [line.split() for line in sources.splitlines()]
    mirror, own = next(
        pair for pair in pairs if pair[0].rstrip("/").endswith("/debian") and "-" not in pair[1]
    )
    (folder / "sources.list").write_text(
        f"deb [signed-by={KEYRING}] {mirror} {release or own} main\n", encoding="utf-8"
    )
    values = {
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State": folder,
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
    }
    return [part for name, value in values.items() for part in ("-o", f"{name}={value}")]


@contextlib.contextmanager
def _locked(name: str, *, wait: bool = True) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
