"""Recorded devices: ``replay:DIR``, where jobs run on this machine and sensors are files of DIR.

    DIR/tree/sys/class/...    files of the device, at their paths there; whoever plays them writes them anew
    DIR/bin/vcgencmd ...      programs of the device that are run instead of any of this machine
    DIR/recording.jsonl       or a recording of an energy measurement, which is computed again

All figures are "replayed": the sensors are not those of the machine that does the work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, unquote

from tdedge.errors import DeviceError
from tdedge_devices import recording
from tdedge_devices.address import Settings
from tdedge_devices.local import LocalShell
from tdedge_devices.recording import Recording
from tdedge_devices.workshop import WorkshopDevice


def connect(url: SplitResult, settings: Settings) -> ReplayDevice:
    """The device recorded in a folder. Settings: ``python``, ``folder``.

    Raises:
        DeviceError: the folder holds neither a tree, nor programs, nor a recording.
        UsageError: the recording cannot be read.
    """
    folder = Path(unquote(url.netloc + url.path)).expanduser().absolute()
    tree, programs = folder / "tree", folder / "bin"
    kept = recording.load(folder) if (folder / recording.FILE).exists() else None
    if kept is None and not tree.is_dir() and not programs.is_dir():
        raise DeviceError(f"{url.geturl()}: no tree/, bin/ or {recording.FILE} in {folder}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)])
    return ReplayDevice(
        TreeShell(tree, {**os.environ, "PATH": path}),
        settings.get("python", sys.executable),
        url=url.geturl(),
        figure_kind="replayed",
        folder=settings.get("folder", str(cache / "tdedge" / "device")),
        recording=kept,
    )


class ReplayDevice(WorkshopDevice):
    """A recorded device.

    Attributes:
        recording: the recording of an energy measurement in its folder, if there is one.
    """

    def __init__(
        self,
        shell: TreeShell,
        python: str,
        *,
        url: str,
        figure_kind: Literal["replayed"] = "replayed",
        folder: str,
        recording: Recording | None,
    ) -> None:
        super().__init__(shell, python, url=url, figure_kind=figure_kind, folder=folder)
        self.recording = recording


class TreeShell(LocalShell):
    """This machine's shell, with a tree of recorded files for whoever reads or looks for files.

    ``glob`` gives paths within the tree, so that what it finds can also be read by commands.

    Args:
        tree: the files of the device.
        environment: variables of commands.
    """

    def __init__(self, tree: Path, environment: Mapping[str, str]) -> None:
        super().__init__(environment=environment)
        self._tree = tree

    def read(self, path: str) -> bytes | None:
        """As ``Shell.read``, from the tree."""
        return super().read(self._within(path))

    def glob(self, pattern: str) -> list[str]:
        """As ``Shell.glob``, in the tree."""
        return super().glob(self._within(pattern))

    def _within(self, path: str) -> str:
        root = str(self._tree)
        return path if path.startswith(f"{root}/") or not path.startswith("/") else root + path
