"""The sampler for devices without Python (Android): one shell process, with the words of ``sh`` alone.

It reads the same files and runs the same commands as ``tdedge_runtimes.sampler``. Its clock is
``/proc/uptime``: hundredths of a second since boot, CLOCK_BOOTTIME; jobs that tell moments of such a device
use the same. Every sample is printed as lines between marks (a control character and a letter), which
``translated`` makes the sampler's JSON lines of.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tdedge.errors import DeviceError

_MARK = "\x01"
_NAME, _BEGIN, _END = (f"{_MARK}{letter}" for letter in "nbe")
_PRINT = "printf '\\001{}%s\\n' {}"  # the mark, as the shell's printf writes it


def command(request: Mapping[str, Any]) -> list[str]:
    """The command that samples what a request for ``tdedge_runtimes.sampler`` asks for.

    Raises:
        DeviceError: the request has a stream, which this sampler cannot read.
    """
    if request.get("streams"):
        raise DeviceError("a device without Python cannot sample a command that prints by itself")
    parts = []
    for name, path in request.get("files", {}).items():
        file = shlex.quote(path)
        each = f'while read -r l || [ -n "$l" ]; do printf \'%s\\n\' "$l"; done <{file}'
        parts.append(f"{_PRINT.format('n', shlex.quote(name))}; [ -r {file} ] && {each}")
    for name, argv in request.get("commands", {}).items():
        parts.append(f"{_PRINT.format('n', shlex.quote(name))}; {shlex.join(argv)} 2>&1 </dev/null; echo")
    script = "\n".join(
        [
            "while :; do",
            "read -r u l </proc/uptime; " + _PRINT.format("b", '"$u"'),
            *parts,
            "read -r u l </proc/uptime; " + _PRINT.format("e", '"$u"'),
            f"sleep {float(request.get('interval_ms', 20)) / 1e3:g}",
            "done",
        ]
    )
    return ["sh", "-c", script]


def translated(lines: Iterable[str]) -> Iterator[str]:
    """The JSON lines of ``tdedge_runtimes.sampler``; what is cut off at the end is left out."""
    begin, name = "", ""
    values: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(_BEGIN):
            begin, name, values = line[2:], "", {}
        elif line.startswith(_NAME):
            name = line[2:]
            values[name] = []
        elif line.startswith(_END) and begin:
            ns = round((float(begin) + float(line[2:])) / 2 * 1e9)
            texts = {key: "\n".join(text).rstrip("\n") or None for key, text in values.items()}
            yield json.dumps({"ns": ns, "values": texts})
            begin = ""
        elif name:
            values[name].append(line)
