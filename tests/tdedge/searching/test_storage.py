import sqlite3
import threading

import pytest
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from tdedge.errors import UsageError
from tdedge.searching.storage import open_storage, shown, url_of

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def opened(location):
    return open_storage(location, heartbeat_s=1, grace_s=2, when_dead=lambda *_: None)


def test_a_file_is_a_sqlite_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert url_of("study.db") == url_of(tmp_path / "study.db") == f"sqlite:///{tmp_path / 'study.db'}"
    assert url_of("sqlite:///study.db") == "sqlite:///study.db"
    assert url_of("postgresql://me:secret@host/db") == "postgresql://me:secret@host/db"


def test_passwords_are_not_shown():
    assert shown("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert shown("study.db") == "study.db"


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///:memory:"])
def test_memory_is_refused(text):
    with pytest.raises(UsageError, match="lies in memory and would be lost"):
        url_of(text)


def test_wrong_places(tmp_path):
    with pytest.raises(UsageError, match="is a folder; name a file in it"):
        url_of(tmp_path)
    with pytest.raises(UsageError, match=r"there is no folder .*none; make it first"):
        url_of(tmp_path / "none" / "study.db")
    with pytest.raises(UsageError, match="is no address; expected a file"):
        url_of("://")
    (tmp_path / "text.db").write_text("not a database, however long it may be")
    with pytest.raises(UsageError, match="is no SQLite file"):
        url_of(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table costs (x)")
    with pytest.raises(UsageError, match="is a database of another program"):
        url_of(tmp_path / "other.db")
    with sqlite3.connect(tmp_path / "other.db") as other:
        assert other.execute("select count(*) from sqlite_master").fetchone() == (1,)


@pytest.mark.parametrize("url", ["nosuch://host/db", "postgresql+nosuch://host/db"])
def test_databases_that_cannot_be_opened(url):
    with pytest.raises(UsageError, match="cannot be opened"):
        opened(url)


def test_a_waiting_trial_is_taken_once(tmp_path):
    """Every thread has its connection, as every process has."""
    storage = opened(tmp_path / "study.db")
    study = storage.create_new_study([StudyDirection.MINIMIZE], "s")
    for _ in range(20):
        trial = storage.create_new_trial(study, create_trial(state=TrialState.WAITING))
        barrier, taken = threading.Barrier(4), []

        def take(trial=trial, barrier=barrier, taken=taken):
            barrier.wait()
            taken.append(storage.set_trial_state_values(trial, TrialState.RUNNING))

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == [False, False, False, True]
    storage.engine.dispose()


def test_an_interrupted_transaction_is_rolled_back(tmp_path):
    """A killed process may leave a journal beside the file; it is no reason to refuse the file."""
    storage = opened(tmp_path / "study.db")
    storage.create_new_study([StudyDirection.MINIMIZE], "s")
    storage.engine.dispose()
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("pragma cache_size = 1")
        database.execute("create table filler (x)")
    writer = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    writer.execute("pragma cache_size = 1")
    writer.execute("begin immediate")
    writer.executemany("insert into filler values (?)", [("x" * 1000,)] * 200)  # spills into the file
    (tmp_path / "left").mkdir()
    for name in ("study.db", "study.db-journal"):
        (tmp_path / "left" / name).write_bytes((tmp_path / name).read_bytes())
    writer.execute("rollback")
    writer.close()
    again = opened(tmp_path / "left" / "study.db")
    assert isinstance(again, RDBStorage)
    assert [study.study_name for study in again.get_all_studies()] == ["s"]
    again.engine.dispose()
    with sqlite3.connect(tmp_path / "left" / "study.db") as database:
        assert database.execute("select count(*) from filler").fetchone() == (0,)
