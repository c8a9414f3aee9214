"""A qemu that emulates an arm64 machine whose clock counts instructions; it never outlives this process.

With these options qemu runs one instruction per nanosecond of the guest's clock (``-icount``), so that
unmodified timing code tells how many instructions a thing took, the same every time however busy this machine
is. There are no caches and no pipeline in it: it is no latency.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tdedge.errors import DeviceError, MissingError
from tdedge_devices.arm64_image import Image

QEMU = "qemu-system-aarch64"
_BOOT_S = 240.0
_PORTS = 5
_END_S = 5.0
# Runs a command and kills it when standard input ends, that is when whoever holds the other end dies.
_KEEPER = """
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ cat <&3 >/dev/null; kill -KILL "$child"; } 2>/dev/null &
wait "$child"
"""


class Machine:
    """A machine that boots; ``wait`` until it can be reached, and ``close`` it.

    Args:
        image: what it boots.
        cpu: the processor, as qemu calls it.
        memory_mb: its memory; the system in the image takes some 300 of it.
        qemu: the program.

    Raises:
        MissingError: qemu is not installed.
        DeviceError: it does not start.
    """

    def __init__(self, image: Image, cpu: str, *, memory_mb: int, qemu: str = QEMU) -> None:
        program = shutil.which(qemu)
        if program is None:
            raise MissingError(f"{qemu} is not installed; install it with: apt-get install qemu-system-arm")
        self.name = f"emulated:{cpu}"
        self._folder = Path(tempfile.mkdtemp(prefix="tdedge-emulated-"))
        self.port = 0
        try:
            for attempt in range(_PORTS):
                self.port = _free_port()
                self._process = self._start(_command(program, image, cpu, memory_mb, self.port, self._folder))
                if not self._port_was_taken() or attempt + 1 == _PORTS:
                    break
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / "errors").open("wb") as errors:
            return subprocess.Popen(  # noqa: S603 - our own arguments, as a list
                ["/bin/sh", "-c", _KEEPER, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def _port_was_taken(self) -> bool:
        """Whether another process took the port between our choice and qemu's start, which then ends."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        return self._process.poll() is not None and "forwarding" in self._text("errors")

    def wait(self, timeout_s: float = _BOOT_S) -> None:
        """Return when its SSH server answers.

        Raises:
            DeviceError: qemu ended, or it takes longer than ``timeout_s``; tells the console's last line.
        """
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            code = self._process.poll()
            if code is not None:
                raise DeviceError(f"{self.name} ended while it booted (qemu's code {code}): {self.last_line}")
            if time.monotonic() > deadline:
                raise DeviceError(
                    f"{self.name} did not boot in {timeout_s:g} s; its console's last line: {self.last_line}"
                )
            time.sleep(0.2)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0) as stream:
            stream.settimeout(3.0)
            return stream.recv(4) == b"SSH-"
        return False

    @property
    def last_line(self) -> str:
        """What it said last: a panic of its kernel, or else the last line of qemu or of the console."""
        errors, console = (
            [line.strip() for line in self._text(name).splitlines() if line.strip()]
            for name in ("errors", "console")
        )
        panics = [line for line in console if "Kernel panic" in line]
        return (panics or errors or console or ["it said nothing"])[-1]

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def close(self) -> None:
        """End qemu; harmless where it has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _command(program: str, image: Image, cpu: str, memory_mb: int, port: int, folder: Path) -> list[str]:
    forward = f"hostfwd=tcp:127.0.0.1:{port}-:22"
    options = {
        "-machine": "virt",
        "-cpu": cpu,
        "-smp": "1",
        "-accel": "tcg,thread=single",
        "-icount": "shift=0,sleep=on",
        "-m": str(memory_mb),
        "-display": "none",
        "-monitor": "none",
        "-serial": f"file:{folder / 'console'}",
        "-kernel": str(image.kernel),
        "-initrd": str(image.initramfs),
        "-append": "console=ttyAMA0 rdinit=/init panic=-1 norandmaps loglevel=4",
        # restrict: the guest reaches nothing; only what connects to the forwarded port gets in.
        "-netdev": f"user,id=net0,restrict=on,{forward}",
        "-device": "virtio-net-pci,netdev=net0,romfile=",
    }
    return [program, "-nodefaults", "-no-reboot", *(part for pair in options.items() for part in pair)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
