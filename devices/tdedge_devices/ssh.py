"""A Linux machine over SSH: ``ssh://USER@HOST:PORT``, with what ``~/.ssh/config`` says about the host.

Settings: ``key`` (a private key file), ``known_hosts`` (a file), ``python``, ``folder``, ``runtimes`` and
``bootstrap``. The host's key must be known; passwords are not taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from tdedge.errors import DeviceError, MissingError, UsageError
from tdedge_devices.address import Settings
from tdedge_devices.bootstrap import FOLDER, find_python
from tdedge_devices.loop_thread import LoopThread
from tdedge_devices.ssh_shell import SshShell
from tdedge_devices.workshop import WorkshopDevice

_CONNECT_S = 15.0
_KEEPALIVE_S = 10.0
_KEEPALIVES = 3


def connect(url: SplitResult, settings: Settings) -> WorkshopDevice:
    """The machine at an address of SSH, with a Python that has NumPy and a runtime.

    Raises:
        UsageError: the address or a setting is wrong.
        DeviceError: it cannot be reached, its key is not known, or it refuses the login.
        MissingError: asyncssh is not installed here, or no fit Python there.
    """
    shell = open_shell(url, settings)
    folder = settings.get("folder", FOLDER).removeprefix("~/")
    try:
        python = find_python(shell, settings, folder=folder, name=shell.url)
    except BaseException:
        shell.close()
        raise
    return WorkshopDevice(shell, python, url=shell.url, folder=folder)


def open_shell(url: SplitResult, settings: Settings) -> SshShell:
    """A shell on the machine, whatever is installed there; arguments and errors as ``connect``."""
    try:
        import asyncssh
    except ModuleNotFoundError:
        raise MissingError.extra("asyncssh", "ssh") from None

    async def opened() -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(**options)

    name, options = _options(url, settings)
    thread = LoopThread(name)
    try:
        connection = thread.call(opened())
    except BaseException as error:
        thread.close()
        if isinstance(error, asyncssh.Error | OSError | ValueError):
            raise DeviceError(_why(error, name, options)) from None
        raise
    return SshShell(thread, connection, name)


def _options(url: SplitResult, settings: Settings) -> tuple[str, dict[str, Any]]:
    """The address without secrets, and the arguments of ``asyncssh.connect``."""
    shown = f"ssh://{url.netloc.rpartition('@')[2]}"
    try:
        port = url.port
    except ValueError:
        raise UsageError(f"{shown}: the port is no number from 1 to 65535") from None
    if not url.hostname:
        raise UsageError(f"{url.geturl()!r} names no host; expected ssh://USER@HOST:PORT")
    if url.password is not None:
        raise UsageError(f"{shown}: a password in an address is not taken; log in by a key (ssh-copy-id)")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise UsageError(f"{shown}: nothing may follow the port; the setting folder says where files go")
    options: dict[str, Any] = {
        "host": url.hostname,
        "connect_timeout": _CONNECT_S,
        "login_timeout": _CONNECT_S,
        "keepalive_interval": _KEEPALIVE_S,
        "keepalive_count_max": _KEEPALIVES,
        "password_auth": False,
        "kbdint_auth": False,
    }
    if port is not None:
        options["port"] = port
    if url.username:
        options["username"] = url.username
        shown = f"ssh://{url.username}@{shown.removeprefix('ssh://')}"
    for setting, option in (("key", "client_keys"), ("known_hosts", "known_hosts")):
        if value := settings.get(setting):
            path = Path(value).expanduser()
            if not path.is_file():
                raise UsageError(f"the setting {setting} of {shown} is {value!r}; there is no such file")
            options[option] = [str(path)] if option == "client_keys" else str(path)
    if "key" in settings:
        options["agent_path"] = None  # that key and no other
    return shown, options


def _why(error: BaseException, name: str, options: dict[str, Any]) -> str:
    import asyncssh

    login = f"{options['username']}@{options['host']}" if "username" in options else options["host"]
    if "port" in options:
        login = f"-p {options['port']} {login}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return (
            f"{name}: its host key is not among the known hosts (or is another one than before); run once: "
            f"ssh {login} , compare the fingerprint and accept, or name a file by the setting known_hosts"
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return (
            f"{name} refuses the login; put a public key there with: ssh-copy-id {login} , or name the "
            "private key by the setting key"
        )
    if isinstance(error, TimeoutError | asyncssh.ConnectionLost) and not str(error):
        reason = f"no answer in {_CONNECT_S:g} s"
    else:
        reason = str(error).strip() or type(error).__name__
    return f"{name} cannot be reached: {reason}; check the address and that its SSH server runs"
