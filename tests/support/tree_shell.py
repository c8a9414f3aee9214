"""Shells whose files lie below a folder that stands for a device's root."""

from pathlib import Path


class TreeShell:
    """Reads files and patterns below a folder; what commands do is told by those who inherit."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path):
        file = self.root / path.lstrip("/")
        return file.read_bytes() if file.is_file() else None

    def glob(self, pattern):
        return sorted("/" + str(p.relative_to(self.root)) for p in self.root.glob(pattern.lstrip("/")))
