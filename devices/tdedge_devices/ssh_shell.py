"""Commands and files over one SSH connection.

Every command is preceded by a line with its process id, which on an SSH server is that of its process group
too: that is how it is ended, from a second channel. Closing a channel alone leaves the command alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import queue
import shlex
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tdedge.artifact import atomic_file
from tdedge.errors import DeviceError
from tdedge_devices.loop_thread import LoopThread
from tdedge_devices.shell import Done

if TYPE_CHECKING:
    from asyncssh import SFTPClient, SSHClientConnection, SSHClientProcess, SSHReader

_MARK = b"tdedge-process "
_MARK_BOTH = 'echo "tdedge-process $$"; echo "tdedge-process $$" >&2; exec "$@"'
_MARK_QUIET = 'echo "tdedge-process $$"; exec "$@" 2>/dev/null'
_GLOB = 'IFS=; for path in $1; do [ -e "$path" ] && printf "%s\\n" "$path"; done; exit 0'
# Ends the process group $1: it may end by itself, as its input just did, then it is asked to, then it must.
# Spelt so that every POSIX shell takes a process group.
_END = """
for _ in 1 2 3 4 5; do
    kill -s 0 -- "-$1" 2>/dev/null || break
    sleep 0.1
done
kill -s TERM -- "-$1" 2>/dev/null || kill -s TERM "$1" 2>/dev/null || exit 0
for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -s 0 -- "-$1" 2>/dev/null || exit 0
    sleep 0.1
done
kill -s KILL -- "-$1" 2>/dev/null
"""
_END_S = 8.0
_SIGNALLED = 128


class SshShell:
    """A ``HoldingShell`` over SSH.

    Args:
        thread: runs the connection; closed with the shell.
        connection: an open one.
        url: the address, without secrets.
    """

    def __init__(self, thread: LoopThread, connection: SSHClientConnection, url: str) -> None:
        self.url = url
        self._thread, self._connection = thread, connection
        self._sftp: SFTPClient | None = None
        self._streams: list[SshStream] = []
        self._runs: set[asyncio.Task[Done]] = set()

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        hold_stdin: bool = False,
    ) -> Done:
        """As ``HoldingShell.run``."""

        async def kept() -> Done:
            task = asyncio.create_task(self._run(command, stdin, timeout_s, hold_stdin))
            self._runs.add(task)
            task.add_done_callback(self._runs.discard)
            return await task

        return self._thread.call(kept())

    def start(self, command: Sequence[str]) -> SshStream:
        """As ``Shell.start``; standard input of the command stays open as long as it is read."""
        process, pid = self._thread.call(self._open(command, _MARK_QUIET))
        stream = SshStream(self, process, pid)
        self._thread.spawn(stream.read())
        self._streams.append(stream)
        return stream

    def push(self, source: Path, destination: str) -> None:
        """As ``Shell.push``: to a name beside it, which is then changed."""
        self._thread.call(self._push(source, destination))

    def pull(self, source: str, destination: Path) -> None:
        """As ``Shell.pull``."""
        with atomic_file(destination, force=True) as scratch:
            self._thread.call(self._pull(source, scratch))

    def read(self, path: str) -> bytes | None:
        """As ``Shell.read``."""
        done = self.run(["cat", path])
        return done.stdout if done.code == 0 else None

    def glob(self, pattern: str) -> list[str]:
        """As ``Shell.glob``."""
        return sorted(self.run(["sh", "-c", _GLOB, "sh", pattern]).text.splitlines())

    def close(self) -> None:
        """As ``Shell.close``, also while another thread runs a command; harmless where it is lost."""
        for stream in self._streams:
            stream.stop()
        self._streams.clear()
        with contextlib.suppress(DeviceError):
            self._thread.call(self._disconnect())
        self._thread.close()

    def stop(self, process: SSHClientProcess[bytes], pid: str) -> None:
        """End a command with all it started; in vain where the connection is lost: its input ended then."""
        with contextlib.suppress(DeviceError):
            self._thread.call(self._end(process, pid))

    async def _run(self, command: Sequence[str], stdin: bytes, timeout_s: float, hold: bool) -> Done:
        import asyncssh

        pid = ""
        process: SSHClientProcess[bytes] | None = None
        try:
            async with asyncio.timeout(timeout_s):
                process, pid = await self._open(command, _MARK_BOTH)
                _, out, err = await asyncio.gather(
                    _feed(process, stdin, hold), process.stdout.read(), process.stderr.read()
                )
                await process.wait_closed()
        except TimeoutError:
            await self._ended(process, pid)
            raise DeviceError(f"{self.url}: {command[0]} took longer than {timeout_s:g} s") from None
        except asyncio.CancelledError:
            await self._ended(process, pid)
            raise
        except (asyncssh.Error, OSError) as error:
            self._lost(error)
        if process.exit_status is None:
            self._lost()
        code = process.returncode or 0
        return Done(
            code if code >= 0 else _SIGNALLED - code, out, err.partition(_MARK)[2].partition(b"\n")[2]
        )

    async def _open(self, command: Sequence[str], wrapper: str) -> tuple[SSHClientProcess[bytes], str]:
        """A started command and its process id; what the login's own start-up files print is skipped."""
        import asyncssh

        line = "exec " + shlex.join(["sh", "-c", wrapper, "sh", *command])
        try:
            process = await self._connection.create_process(line, encoding=None)
            pid = await _process_id(process.stdout)
        except (asyncssh.Error, OSError) as error:
            self._lost(error)
        if not pid:
            await process.wait_closed()
            if process.exit_status is None:
                self._lost()
            raise DeviceError(f"{self.url} does not run commands: exit code {process.exit_status}")
        return process, pid

    async def _ended(self, process: SSHClientProcess[bytes] | None, pid: str) -> None:
        if process is not None:
            with contextlib.suppress(DeviceError):
                await asyncio.shield(self._end(process, pid))

    async def _end(self, process: SSHClientProcess[bytes], pid: str) -> None:
        import asyncssh

        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
            if not process.stdin.is_closing():
                process.stdin.write_eof()
            line = shlex.join(["sh", "-c", _END, "sh", pid])
            await asyncio.wait_for(self._connection.run(line, encoding=None), _END_S)
        process.close()

    async def _client(self) -> SFTPClient:
        if self._sftp is None:
            self._sftp = await self._connection.start_sftp_client()
        return self._sftp

    async def _push(self, source: Path, destination: str) -> None:
        import asyncssh

        folder, name = posixpath.split(destination)
        scratch = posixpath.join(folder, f".{name}.{uuid.uuid4().hex[:8]}")
        try:
            sftp = await self._client()
            if folder:
                await sftp.makedirs(folder, exist_ok=True)
            try:
                await sftp.put(str(source), scratch)
                await sftp.posix_rename(scratch, destination)
            except BaseException:
                with contextlib.suppress(asyncssh.Error, OSError):
                    await asyncio.wait_for(sftp.remove(scratch), _END_S)
                raise
        except asyncssh.SFTPError as error:
            if isinstance(error, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection):
                self._lost(error)
            room = await self._room(folder or ".")
            why = "it is full" if room is not None and room < source.stat().st_size else error.reason
            raise DeviceError(f"{self.url}: {destination} cannot be written: {why}") from None
        except (asyncssh.Error, OSError) as error:
            self._lost(error)

    async def _room(self, folder: str) -> int | None:
        done = await self._run(["stat", "-f", "-c", "%a %S", folder], b"", _END_S, False)
        words = done.text.split()
        return int(words[0]) * int(words[1]) if done.code == 0 and len(words) == 2 else None

    async def _pull(self, source: str, destination: Path) -> None:
        import asyncssh

        try:
            await (await self._client()).get(source, str(destination))
        except asyncssh.SFTPError as error:
            if isinstance(error, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection):
                self._lost(error)
            raise DeviceError(f"{self.url}: {source} cannot be read: {error.reason}") from None
        except (asyncssh.Error, OSError) as error:
            self._lost(error)

    async def _disconnect(self) -> None:
        import asyncssh

        for task in (running := tuple(self._runs)):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._connection.close()
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
            await asyncio.wait_for(self._connection.wait_closed(), _END_S)

    def _lost(self, error: BaseException | None = None) -> NoReturn:
        reason = str(error).strip() if error is not None else ""
        raise DeviceError(
            f"the connection to {self.url} was lost" + (f": {reason}" if reason else "")
        ) from None


class SshStream:
    """A command on the other side that is read while it runs."""

    def __init__(self, shell: SshShell, process: SSHClientProcess[bytes], pid: str) -> None:
        self._shell, self._process, self._pid = shell, process, pid
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stopped = False

    async def read(self) -> None:
        """Gather the lines; runs in the thread of the connection."""
        import asyncssh

        try:
            with contextlib.suppress(asyncssh.Error, OSError):
                while line := await self._process.stdout.readline():
                    self._lines.put(line)
                await self._process.wait_closed()
        finally:
            self._lines.put(None)

    def lines(self) -> Iterator[str]:
        """As ``Stream.lines``."""
        while (line := self._lines.get()) is not None:
            yield line.decode(errors="replace").rstrip("\r\n")
        self._lines.put(None)
        if self._process.exit_status is None and not self._stopped:
            raise DeviceError(f"the connection to {self._shell.url} was lost")

    def stop(self) -> None:
        """As ``Stream.stop``."""
        if not self._stopped:
            self._stopped = True
            self._shell.stop(self._process, self._pid)


async def _process_id(stdout: SSHReader[bytes]) -> str:
    while line := await stdout.readline():
        if line.startswith(_MARK):
            return line.removeprefix(_MARK).decode().strip()
    return ""


async def _feed(process: SSHClientProcess[bytes], text: bytes, hold: bool) -> None:
    with contextlib.suppress(OSError):  # the command ended without reading it; its result says more
        process.stdin.write(text)
        await process.stdin.drain()
        if not hold:
            process.stdin.write_eof()
