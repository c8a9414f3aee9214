"""Where a study is kept: a SQLite file, or any database that Optuna can use.

A trial's process says every ``heartbeat_s`` seconds that it lives. One that has been silent for ``grace_s``
is taken for dead, and its trial is tried again. In SQLite every transaction begins with the lock for writing:
by default two processes may both read that a trial waits, and both take it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna import Study
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, NoSuchModuleError, OperationalError

from tdedge.errors import UsageError

#: Seconds to wait for another process's transaction.
_WAIT_S = 60.0
#: Two processes that make the tables at once disturb each other: attempts, and seconds between them.
_ATTEMPTS, _PAUSE_S = 10, 0.3
#: Tables by which a file is known as Optuna's.
_TABLES = {"studies", "version_info", "alembic_version"}


def url_of(location: str | Path) -> str:
    """The address of a storage: an Optuna URL as it is, or that of a SQLite file.

    Raises:
        UsageError: no usable URL, a database in memory, a folder, or a file in one that is not there.
    """
    text = str(location)
    try:
        url = sqlalchemy.engine.make_url(text if "://" in text else f"sqlite:///{Path(text).absolute()}")
    except ArgumentError as error:
        raise UsageError(
            f"storage {text!r} is no address; expected a file such as study.db, or sqlite:///study.db"
        ) from error
    if url.get_backend_name() != "sqlite":
        return text
    if not url.database or url.database == ":memory:":
        raise UsageError(f"storage {text!r} lies in memory and would be lost; name a file such as study.db")
    path = Path(url.database)
    if path.is_dir():
        raise UsageError(f"storage {path} is a folder; name a file in it, such as {path / 'study.db'}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"storage {path}: there is no folder {path.parent}; make it first")
    _check_file(path)
    return str(url)


def shown(location: str | Path) -> str:
    """The location without a password, for messages."""
    text = str(location)
    return sqlalchemy.engine.make_url(text).render_as_string() if "://" in text else text


def open_storage(
    location: str | Path,
    *,
    heartbeat_s: int,
    grace_s: int,
    when_dead: Callable[[Study, FrozenTrial], None],
) -> RDBStorage:
    """Open a storage and make its tables where they are missing.

    Args:
        location: a file or an Optuna URL.
        heartbeat_s: seconds between two signs of life of a running trial.
        grace_s: seconds of silence after which its process counts as dead.
        when_dead: called once with the study and a trial that was given up.

    Raises:
        UsageError: see :func:`url_of`; or the database cannot be opened, or is of another Optuna.
    """
    url, name = url_of(location), shown(location)
    is_sqlite = url.startswith("sqlite")
    kwargs: dict[str, Any] = {"connect_args": {"timeout": _WAIT_S}} if is_sqlite else {}
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            storage = RDBStorage(
                url,
                engine_kwargs=dict(kwargs),
                heartbeat_interval=heartbeat_s,
                grace_period=grace_s,
                heartbeat_stale_trial_callback=when_dead,
            )
        except (OperationalError, IntegrityError, StorageInternalError, AssertionError) as error:
            if attempt == _ATTEMPTS:
                raise UsageError(f"storage {name} cannot be opened: {_cause(error)}") from error
            time.sleep(_PAUSE_S)
        except (DatabaseError, NoSuchModuleError, ImportError) as error:
            raise UsageError(f"storage {name} cannot be opened: {_cause(error)}") from error
        except RuntimeError as error:  # tables of another version
            raise UsageError(f"storage {name}: {error}") from error
        else:
            break
    if is_sqlite:
        _lock_from_the_start(storage.engine)
    return storage


def _lock_from_the_start(engine: sqlalchemy.Engine) -> None:
    """Make every transaction of SQLite take the lock for writing when it begins."""

    @sqlalchemy.event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy then says when a transaction begins

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections that were made without


def _check_file(path: Path) -> None:
    """Refuse a file that holds something else.

    Raises:
        UsageError: it is no SQLite file, or one of another program.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return
    try:
        file = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_WAIT_S)
        try:
            tables = {row[0] for row in file.execute("select name from sqlite_master where type = 'table'")}
        finally:
            file.close()
    except sqlite3.Error as error:
        raise UsageError(f"storage {path} is no SQLite file ({error}); choose another") from error
    if tables and not tables & _TABLES:
        raise UsageError(f"storage {path} is a database of another program; choose another file")


def _cause(error: BaseException) -> str:
    """The innermost reason, in one line."""
    reason = getattr(error, "orig", None) or error.__cause__ or error
    return " ".join(str(getattr(reason, "orig", None) or reason).split())
