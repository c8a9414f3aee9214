"""Real browsers for the tests, headless: Chromium, and WebKitGTK, the nearest there is here to an iPhone's.

Packages are installed where they are missing; the runtimes for browsers are fetched once and kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CACHE = Path("~/.cache/tdedge-tests/web").expanduser()
CHROMIUM = "chromium --headless --no-sandbox --disable-gpu --no-first-run --window-size=390,844"


def install(**packages: str) -> None:
    """Install the Debian packages whose commands are missing: command -> package."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "apt.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = sorted({package for command, package in packages.items() if not shutil.which(command)})
        if missing:
            apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
            _run(*apt, "update")
            _run(*apt, "install", "-y", "--no-install-recommends", *missing)
    for command in packages:
        assert shutil.which(command), f"{command} cannot be installed here; it takes root and a mirror"


def web_assets() -> Path:
    """The folder of the runtimes for browsers, fetched by the command a user has for it."""
    install(npm="npm")
    with (CACHE / "assets.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / "assets"
        if not (folder / "assets.json").is_file():
            _run(sys.executable, "-m", "tdedge_devices.web.assets", str(folder))
    return folder


def chromium(profile: Path, *extra: str) -> str:
    """The command line of a Chromium with a profile of its own."""
    install(chromium="chromium")
    return " ".join([CHROMIUM, f"--user-data-dir={profile}", *extra])


class WebKit:
    """WebKitGTK under WebDriver and a virtual screen; opens pages. Use it as a context manager."""

    def __enter__(self) -> WebKit:
        install(**{"WebKitWebDriver": "webkit2gtk-driver", "Xvfb": "xvfb", "dbus-run-session": "dbus-x11"})
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._base = f"http://127.0.0.1:{port}"
        screen, told = os.pipe()
        self._screen = subprocess.Popen(
            ["Xvfb", "-displayfd", str(told), "-screen", "0", "390x844x24", "-nolisten", "tcp"],
            pass_fds=[told],
            stderr=subprocess.DEVNULL,
        )
        os.close(told)
        with os.fdopen(screen) as stream:
            display = stream.readline().strip()
        environment = {
            **os.environ,
            "DISPLAY": f":{display}",
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
            "LIBGL_ALWAYS_SOFTWARE": "1",
        }
        self._driver = subprocess.Popen(
            ["dbus-run-session", "--", "WebKitWebDriver", f"--port={port}", "--host=127.0.0.1"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        browser = {"args": ["--automation"]}
        wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": browser}}}
        end = time.monotonic() + 30
        while True:
            try:
                self._session = f"/session/{self.ask('POST', '/session', wanted)['sessionId']}"
                return self
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > end:
                    self._stop()
                    raise
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.ask("DELETE", self._session)
        self._stop()

    def open(self, link: str) -> None:
        """Open a page."""
        self.ask("POST", f"{self._session}/url", {"url": link})

    def run(self, script: str) -> Any:
        """What a script's function body returns in the page."""
        return self.ask("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def see(self, *texts: str, timeout_s: float = 30.0) -> None:
        """Wait until the page shows all of these."""
        end = time.monotonic() + timeout_s
        while not all(text in (shown := self.run("return document.body.innerText")) for text in texts):
            assert time.monotonic() < end, f"the page never showed {texts}, but: {shown}"
            time.sleep(0.1)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request of WebDriver."""
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self._base + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["value"]

    def _stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._driver.pid, signal.SIGKILL)
        self._driver.wait()
        self._screen.terminate()
        self._screen.wait()


@contextlib.contextmanager
def opened_by(webkit: WebKit, device: Any) -> Iterator[Any]:
    """A device whose page that browser opens."""
    with device:
        webkit.open(device.link)
        device.wait()
        yield device


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
