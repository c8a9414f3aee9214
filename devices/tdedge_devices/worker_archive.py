"""The worker as one file for a device: ``tdedge_runtimes``, without its page, as a runnable archive."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

import tdedge_runtimes

_MAIN = "from tdedge_runtimes.worker import start\n\nstart()\n"
_DATE = (1980, 1, 1, 0, 0, 0)


@functools.cache
def worker_archive() -> bytes:
    """The archive; the same bytes for the same sources."""
    root = Path(tdedge_runtimes.__file__).parent
    sources = {
        f"{root.name}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*.py"))
        if path.relative_to(root).parts[0] != "web"
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, source in {"__main__.py": _MAIN.encode(), **sources}.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, source, compresslevel=9)
    return stream.getvalue()
