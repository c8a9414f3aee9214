"""``web+adb://SERIAL``: the browser of an Android device, opened and reached through the cable.

``adb reverse`` lets a port of the device lead to this machine, so the page comes from localhost: it is
isolated, and has threads and a fine clock, which no page from the network has. ``am start`` opens it.
Settings:

- ``assets``, ``wait_s`` and ``gpu`` as for ``web://``;
- ``adb``: path of the command;
- ``component``: the browser to open, by default Chrome; empty lets the device choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.adb_shell import AdbShell
from tdedge_devices.shell import Shell
from tdedge_devices.web.device import SETTINGS, WebDevice

CHROME = "com.android.chrome/com.google.android.apps.chrome.Main"

_OWN = frozenset({"adb", "component"})
_NOT_HERE = frozenset({"host", "port", "browser", "link", "certificate", "key"})


def connect(address: SplitResult, settings: Mapping[str, str]) -> WebOverAdb:
    """The browser of the device, with the page open.

    Raises:
        UsageError: an unknown setting, or a wrong value.
        MissingError: adb, or the runtimes for browsers, are not installed.
        DeviceError: the device cannot be reached, or its browser did not open the page.
    """
    known = SETTINGS - _NOT_HERE | _OWN
    if unknown := sorted(set(settings) - known):
        raise UsageError(
            f"{address.scheme}:// has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    shell = AdbShell.connect(address.netloc, adb=settings.get("adb", ""))
    try:
        device = WebOverAdb(address, settings, shell)
    except BaseException:
        shell.close()
        raise
    try:
        device.open_page()
        device.wait()
    except BaseException:
        device.close()
        raise
    return device


class WebOverAdb(WebDevice):
    """A browser at the other end of ``adb``; its shell reaches the device the browser runs on."""

    def __init__(self, address: SplitResult, settings: Mapping[str, str], shell: AdbShell) -> None:
        own = {name: value for name, value in settings.items() if name not in _OWN}
        super().__init__(urlsplit("web://127.0.0.1"), own)
        self._url = address.geturl()
        self._component = settings.get("component", CHROME)
        self._adb = shell
        self._port = 0

    @property
    def shell(self) -> Shell | None:
        """The device's shell, for its sensors and conditions."""
        return self._adb

    @property
    def link(self) -> str:
        """The page's address on the device."""
        return f"http://localhost:{self._port}/{self._server.token}/"

    def open_page(self) -> None:
        """Lead a port of the device here and open the page there.

        Raises:
            DeviceError: the device has no ``am``, or no such browser.
        """
        self._port = self._adb.reverse(self.port, self.port)
        command = ["am", "start", "-a", "android.intent.action.VIEW", "-d", self.link]
        if self._component:
            command += ["-n", self._component]
        done = self._adb.run(command, timeout_s=30.0)
        # am says "Error: ..." and may still end with code 0.
        failed = done.code != 0 or b"Error:" in done.stdout + done.stderr
        if failed:
            why = done.last_line or f"am ended with code {done.code}"
            raise DeviceError(
                f"cannot open a browser on {self._adb.serial}: {why}; "
                "choose another with the setting component, or leave it empty"
            )

    def wait(self) -> None:
        """Wait until the page is open; see ``WebDevice.wait``."""
        if not self._exchange.wait_for_page(self._wait_s, self._check):
            raise DeviceError(
                f"the browser on {self._adb.serial} did not open the page within {self._wait_s:g} s; unlock "
                "the screen, pass the browser's welcome screens, and try again"
            )

    def close(self) -> None:
        """Tell the page that it is over, give the port back, stop the server."""
        try:
            super().close()
        finally:
            self._adb.close()
