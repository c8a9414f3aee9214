"""The rows that are done: one JSON line each, appended when it is; a rerun takes up where the last one ended.

A row is valid on the machine and with the versions it was measured with; the last line of a row counts. Rows
of a published report lie beside it: another machine of the same kind adds to them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.realisation.rows import Row

#: Changes where rows of earlier versions of this benchmark no longer compare.
SCHEMA_VERSION = 1
_VERSIONS = ("numpy", "onnxruntime", "openvino", "ai-edge-litert")


def key_of(environment: Mapping[str, Any], tdedge_version: str) -> str:
    """What rows are valid for: machine and versions, as a short name."""
    affinity = environment["affinity"]
    cores = len(affinity) if isinstance(affinity, list) else environment["cores"]
    identity = {
        "schema": SCHEMA_VERSION,
        "cpu": environment["cpu_model"],
        "cores": cores,
        "versions": {name: environment["versions"].get(name) for name in _VERSIONS},
        "tdedge": tdedge_version,
    }
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def published(name: str, threads: int) -> Path:
    """The rows of the published report of a benchmark, as :func:`lines` wrote them."""
    return Path(__file__).parents[1] / "results" / f"{name}-t{threads}.rows.jsonl"


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """One JSON line per row, its numbers to six digits."""
    return "".join(json.dumps(_short(row), separators=(",", ":")) + "\n" for row in rows)


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _short(each) for key, each in value.items()}
    return [_short(each) for each in value] if isinstance(value, list | tuple) else value


class Store:
    """Rows in a file of JSON lines.

    Attributes:
        path: the file; it is made with the first row.
        read: a row from the JSON values of its line.

    Args:
        path: see the attributes.
        read: see the attributes.
        published: rows of a report, which those of ``path`` replace; None where there is none.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Mapping[str, Any]], Any] = Row.from_json,
        published: Path | None = None,
    ) -> None:
        self.path = path
        self.read = read
        self._rows: dict[tuple[str, ...], Row] = {}
        for each in (published, path):  # a row measured here comes after what was published of it
            if each is not None and each.exists():
                for line in each.read_text(encoding="utf-8").splitlines():
                    self._read(line)

    def _read(self, line: str) -> None:
        try:
            row = self.read(json.loads(line))
        except (ValueError, KeyError, TypeError):
            return  # a line that was cut off, or one of another version
        self._rows[row.identity] = row

    def get(self, row: Row) -> Row | None:
        """The measurement of a row; None where there is none, or it failed."""
        found = self._rows.get(row.identity)
        return None if found is None or found.error else found

    def add(self, row: Row) -> None:
        """Append a row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(("\n" if torn else "") + json.dumps(row.to_json()) + "\n")
        self._rows[row.identity] = row

    def rows(self, key: str, threads: int) -> list[Row]:
        """Every row of this key and number of threads, failed ones too."""
        return [row for row in self._rows.values() if row.key == key and row.threads == threads]
