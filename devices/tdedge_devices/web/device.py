"""``web://`` and ``web://HOST:PORT``: a browser as a device, on any phone that can open a page.

This machine serves the page; the browser that opens it is the device. Settings:

- ``host`` and ``port`` to listen on: by default 127.0.0.1 and a free one;
- ``assets``: the folder of the runtimes for browsers;
- ``browser``: a command line that opens the link; without it the link is shown to a person;
- ``wait_s``: seconds to wait for the page;
- ``certificate`` and ``key``: PEM files, to speak https;
- ``link``: the address under which the outside sees this server, such as a tunnel's;
- ``gpu``: "webgpu"; "software" also takes an adapter that is no GPU, to test that it works.
"""

from __future__ import annotations

import ipaddress
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.closing import Closing
from tdedge_devices.device import FigureKind
from tdedge_devices.shell import Shell
from tdedge_devices.web import assets, results
from tdedge_devices.web.browser import Browser
from tdedge_devices.web.exchange import SILENCE_S, Exchange, Job
from tdedge_devices.web.invite import invite
from tdedge_devices.web.posts import unpack
from tdedge_devices.web.preparing import prepare
from tdedge_devices.web.server import Server, page_files
from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.session import save_arrays

SETTINGS = frozenset({"host", "port", "assets", "browser", "wait_s", "certificate", "key", "link", "gpu"})
_GPU = ("", "webgpu", "software")
_WAIT_S = 180.0


def connect(address: SplitResult, settings: Mapping[str, str]) -> WebDevice:
    """The browser that opens the page, once it has.

    Raises:
        UsageError: an unknown setting, or a wrong value.
        MissingError: the runtimes for browsers were never fetched.
        DeviceError: the port is taken, the browser cannot be started, or nobody opened the page.
    """
    device = WebDevice(address, settings)
    try:
        device.open_page()
        device.wait()
    except BaseException:
        device.close()
        raise
    return device


class WebDevice(Closing):
    """A browser as a device; see ``tdedge_devices.device.Device``."""

    def __init__(
        self, address: SplitResult, settings: Mapping[str, str], *, silence_s: float = SILENCE_S
    ) -> None:
        if unknown := sorted(set(settings) - SETTINGS):
            known = ", ".join(sorted(SETTINGS))
            raise UsageError(f"a browser has no setting {unknown[0]!r}; it has {known}")
        self._settings = dict(settings)
        self._gpu = settings.get("gpu", "")
        if self._gpu not in _GPU:
            raise UsageError(f"the setting gpu is {self._gpu!r}; expected webgpu, or nothing")
        self._wait_s = _number(settings, "wait_s", _WAIT_S)
        self._host, port = _listen_on(address, settings)
        self._url = f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
        folder = settings.get("assets")
        files = page_files(assets.load(Path(folder) if folder else None))
        self._exchange = Exchange(silence_s=silence_s)
        self._server = Server(self._exchange, files, host=self._host, port=port, tls=_tls(settings))
        self._browser: Browser | None = None

    @property
    def url(self) -> str:
        """The address it was reached by."""
        return self._url

    @property
    def link(self) -> str:
        """The address of the page; whoever has it can take the part of the device."""
        return f"{self._base()}/{self._server.token}/"

    @property
    def port(self) -> int:
        """The port the server listens on."""
        return self._server.port

    @property
    def figure_kind(self) -> FigureKind:
        """Browsers measure."""
        return "measured"

    @property
    def job_kinds(self) -> frozenset[str]:
        """The kinds of job it can do; memory has a reason in place of its figures."""
        return frozenset({"latency", "load", "run", "memory"})

    @property
    def has_monotonic_clock(self) -> bool:
        """False: the times in its results are not by the clock that the device's sensors are sampled by."""
        return False

    @property
    def shell(self) -> Shell | None:
        """A browser has none."""
        return None

    def open_page(self) -> None:
        """Start the browser, or show a person the link."""
        if command := self._settings.get("browser"):
            self._browser = Browser(command, self.link)
        else:
            invite(self.link, reachable=not _is_loopback(self._host) or "link" in self._settings)

    def wait(self) -> None:
        """Wait until the page is open.

        Raises:
            DeviceError: nobody opened it in time, or the browser ended.
        """
        if not self._exchange.wait_for_page(self._wait_s, self._check):
            raise DeviceError(
                f"no browser opened {self._base()}/... within {self._wait_s:g} s; open the link that is "
                "shown, or set wait_s to a longer time"
            )

    def environment(self) -> dict[str, Any]:
        """The browser's facts.

        Raises:
            DeviceError: as ``wait``.
        """
        self.wait()
        return results.environment(self._exchange.facts, assets.VERSIONS)

    def do(self, job: Mapping[str, Any], *, timeout_s: float = 600.0) -> dict[str, Any]:
        """Do one job in the page.

        Raises:
            DeviceError: the page is not open, was closed or reloaded, fell silent, or took too long.
            RuntimesError: the model or an option is wrong, or a runtime failed.
            UsageError: a kind of job, or an option, that a browser cannot do.
        """
        kind = str(job.get("kind"))
        if kind not in self.job_kinds:
            raise UsageError(f"a browser cannot do a {kind} job; it does {', '.join(sorted(self.job_kinds))}")
        options = MeasureOptions.from_json(job.get("options", {}))
        if options.cpus:
            raise UsageError(f"a browser cannot pin to cores {list(options.cpus)}; leave out cpus")
        with tempfile.TemporaryDirectory() as scratch:
            handed = prepare(job, options, gpu=self._gpu, scratch=Path(scratch))
            self.wait()
            posted = self._exchange.do(handed, timeout_s, self._check)
            if kind == "latency":
                return results.latency(posted, handed.models, options)
            if kind == "load":
                return results.load(posted, handed.models, options)
            result = results.single(posted, kind, handed.models, options)
        if kind == "run":
            _save(handed, str(job["outputs"]))
        return result

    def close(self) -> None:
        """Tell the page that it is over, end the browser that was started, stop the server."""
        self._server.close()
        if self._browser is not None:
            self._browser.close()

    def _check(self) -> None:
        if self._browser is not None:
            self._browser.check()

    def _base(self) -> str:
        if link := self._settings.get("link"):
            return link.rstrip("/")
        host = _own_address() if self._host in ("", "0.0.0.0", "::") else self._host  # noqa: S104
        return f"{self._server.scheme}://{f'[{host}]' if ':' in host else host}:{self._server.port}"


def _save(job: Job, path: str) -> None:
    if job.outputs is None:
        raise DeviceError("the page answered without outputs; run again")
    try:
        save_arrays(path, unpack(job.outputs))
    except OSError as error:
        raise RuntimeInputError(f"cannot write {path!r}: {error.strerror}") from None


def _listen_on(address: SplitResult, settings: Mapping[str, str]) -> tuple[str, int]:
    try:
        port = address.port
    except ValueError:
        raise UsageError(f"the port of {address.geturl()!r} is none; expected 0 to 65535") from None
    if address.path.strip("/") or address.query or address.username:
        raise UsageError(
            f"{address.geturl()!r} is no address of a browser; expected web:// or web://HOST:PORT"
        )
    host = address.hostname or settings.get("host", "127.0.0.1")
    return host, int(_number(settings, "port", 0)) if port is None else port


def _number(settings: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(settings.get(name, default))
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise UsageError(f"the setting {name} is {settings[name]!r}; expected a number of at least 0")
    return value


def _tls(settings: Mapping[str, str]) -> tuple[Path, Path] | None:
    given = [Path(settings[name]) for name in ("certificate", "key") if name in settings]
    if len(given) == 1:
        raise UsageError("https needs both settings, certificate and key")
    return (given[0], given[1]) if given else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_address() -> str:
    """The address by which the local network knows this machine; no packet is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
