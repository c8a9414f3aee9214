"""Real OpenSSH servers on 127.0.0.1: one of this machine, and one inside a root for another processor."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SSHD = "/usr/sbin/sshd"


class Server:
    """A server that runs until ``stop``; ``url`` and ``settings`` reach it."""

    def __init__(self, command, port, settings, log):
        self.port, self.settings = port, dict(settings)
        self.url = f"ssh://root@127.0.0.1:{port}" if os.geteuid() == 0 else f"ssh://127.0.0.1:{port}"
        with Path(log).open("ab") as stream:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            text = Path(log).read_text()
            assert self.process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(5)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def sessions(self):
        """The processes of the server that hold a connection each."""
        return children(self.process.pid)

    def cut(self):
        """End all connections as a lost network does: the processes that hold them are killed."""
        for pid in self.sessions():
            for child in children(pid):  # without root they are one process
                if "sshd" in command_of(child):
                    kill(child)
            kill(pid)

    def stop(self):
        """End the server and its connections."""
        self.cut()
        self.process.kill()
        self.process.wait()


def host_server(folder):
    """A server of this machine with a host key and a login key of its own, both in ``folder``."""
    if not Path(SSHD).exists():
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "openssh-server"]
        subprocess.run(install, check=True, env=environment, stdout=subprocess.DEVNULL)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host_key", "key"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    port = free_port()
    host_key = (folder / "host_key.pub").read_text().strip()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nPidFile none\n"
        "UsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nUseDNS no\n"
        f"Subsystem sftp internal-sftp\nListenAddress 127.0.0.1\nPort {port}\n"
        f"SetEnv PATH={Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin\n"
    )
    settings = {"key": str(folder / "key"), "known_hosts": str(folder / "known_hosts")}
    command = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    return Server(command, port, settings, folder / "sshd.log")


def arm64_server(cache, folder):
    """The server of the arm64 root in ``cache`` (see tests/devices/arm64), run by qemu in a chroot."""
    root = cache / "root"
    port = free_port()
    inside = (
        'mount -t proc proc "$1/proc" && mkdir -p "$1/run/sshd" && exec chroot "$1" /usr/sbin/sshd -D -e '
        f"-p {port} -o ListenAddress=127.0.0.1 -o PidFile=none -o SetEnv=QEMU_CPU=cortex-a72"
    )
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside, "sh", str(root)]
    settings = {
        "key": str(cache / "key"),
        "known_hosts": str(cache / "known_hosts"),
        "python": "/opt/tdedge/bin/python",
    }
    return Server(command, port, settings, folder / "sshd.log")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def children(pid):
    """The direct children of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def command_of(pid):
    """The command line of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def processes(text):
    """The processes of this machine whose command line holds ``text``."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if pid != os.getpid() and text in command_of(pid)]


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
