"""The measured cost table: what each trial takes on one target and machine, kept for the next network.

A row is found by trial, runtime, its version, threads, precision and machine. Times are medians of
interleaved calls in the worker process (:mod:`tdedge_runtimes.measure`), in milliseconds. The table is a
SQLite file in the user's cache folder; ``rows`` and ``read_rows`` carry it elsewhere.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tdedge.errors import UsageError

_SCHEMA = """
create table if not exists costs (
    place text not null,
    trial text not null,
    key text not null,
    median_ms real not null,
    mad_ms real not null,
    calls integer not null,
    quiet integer not null,
    created text not null,
    primary key (place, trial)
)
"""


@dataclass(frozen=True, order=True)
class Place:
    """Where times are valid.

    Attributes:
        runtime: name of the runtime.
        version: its version.
        precision: what it computes in.
        threads: threads of one inference.
        machine: processor, cores and operating system.
    """

    runtime: str
    version: str
    precision: str
    threads: int
    machine: str

    def key(self) -> str:
        """JSON text."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Cost:
    """What one trial took.

    Attributes:
        median_ms: median latency.
        mad_ms: median absolute deviation from it.
        calls: timed calls.
        quiet: whether other processes left the machine alone.
    """

    median_ms: float
    mad_ms: float = 0.0
    calls: int = 0
    quiet: bool = True


class CostTable:
    """Costs by place and trial, in a SQLite file or in memory.

    Raises:
        UsageError: where the file is none of ours, or cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(":memory:" if path is None else path)
            with self._db:
                self._db.execute(_SCHEMA)
                self._db.execute(
                    "select place, trial, key, median_ms, mad_ms, calls, quiet, created from costs"
                )
        except (OSError, sqlite3.Error) as reason:
            raise UsageError(f"{path} is no usable cost table ({reason}); move it away") from reason

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, place: Place, trial: str) -> Cost | None:
        """The cost of a trial, by the SHA-256 of its key."""
        query = "select median_ms, mad_ms, calls, quiet from costs where place = ? and trial = ?"
        row = self._db.execute(query, (place.key(), trial)).fetchone()
        return None if row is None else Cost(row[0], row[1], row[2], bool(row[3]))

    def put(self, place: Place, trial: str, key: Mapping[str, Any], cost: Cost) -> None:
        """Keep a cost; a newer one replaces it."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        values = (place.key(), trial, json.dumps(key, sort_keys=True), cost.median_ms, cost.mad_ms)
        with self._db:
            self._db.execute(
                "insert or replace into costs values (?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, cost.calls, int(cost.quiet), created),
            )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row as JSON values."""
        query = "select place, trial, key, median_ms, mad_ms, calls, quiet, created from costs order by 1, 2"
        names = ("place", "trial", "key", "median_ms", "mad_ms", "calls", "quiet", "created")
        for row in self._db.execute(query):
            values = dict(zip(names, row, strict=True))
            yield {**values, "place": json.loads(values["place"]), "key": json.loads(values["key"])}

    def read_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over rows of another table."""
        for row in rows:
            cost = Cost(row["median_ms"], row["mad_ms"], row["calls"], bool(row["quiet"]))
            self.put(Place(**row["place"]), row["trial"], row["key"], cost)


@contextmanager
def open_table(path: Path | None) -> Iterator[CostTable]:
    """The table in a file, or one in memory."""
    table = CostTable(path)
    try:
        yield table
    finally:
        table.close()


@contextmanager
def users_table() -> Iterator[CostTable]:
    """The table in the user's cache folder; one in memory where that folder cannot be written."""
    path = default_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(path if path.exists() else path.parent, os.W_OK)
    except OSError:
        writable = False
    with open_table(path if writable else None) as table:
        yield table


def default_path() -> Path:
    """``tdedge/costs.sqlite`` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "tdedge" / "costs.sqlite"
