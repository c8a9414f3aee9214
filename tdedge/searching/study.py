"""A search for the best trade-off of accuracy and latency, in a study that outlives its processes.

Accuracy is maximised and latency minimised over one choice per layer (:mod:`tdedge.searching.space`). Any
number of processes may work on one study, one after the other or side by side
(:mod:`tdedge.searching.worker`). A plan that was finished before is not evaluated again; its figures count
for the new trial too.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tdedge.errors import MissingError, UsageError
from tdedge.plan import CompressionPlan
from tdedge.progress import SILENT, Progress
from tdedge.searching.result import SearchResult
from tdedge.searching.space import Chosen, Space

try:
    import optuna
except ModuleNotFoundError as missing:
    raise MissingError.extra("optuna", "search") from missing

from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from tdedge.searching.sampler import SeededByNumber
from tdedge.searching.storage import open_storage, shown
from tdedge.searching.worker import POLL_S, Figure, Worker, reason_of, tried, try_again

#: Seconds between two signs of life, and of silence after which a process counts as dead.
HEARTBEAT_S, GRACE_S = 10, 60
#: Seconds a process waits for the one that makes the study.
_MAKING_S = 10.0
#: What is kept of the study: what it was made for; whether its first trials are all there.
_MADE_FOR, _READY = "tdedge:made_for", "tdedge:ready"
#: What the choices are called in ``made_for``.
_CHOICES = "set of layers, formats and ranks"


def search(
    space: Space,
    accuracy: Figure,
    latency_ms: Figure,
    *,
    storage: str | Path,
    trials: int,
    study_name: str = "search",
    seed: int = 0,
    starts: Sequence[CompressionPlan] = (),
    made_for: Mapping[str, str] | None = None,
    heartbeat_s: int = HEARTBEAT_S,
    grace_s: int = GRACE_S,
    progress: Progress = SILENT,
) -> SearchResult:
    """Work on a study until it holds ``trials`` finished trials, those of all processes together.

    The first trials are the dense network, ``starts``, and every format at uniform shares of each layer's
    multiply-accumulates. A study that is there already goes on where it stands.

    Args:
        space: what is chosen from.
        accuracy: of a plan; higher is better. Called before ``latency_ms`` of the same plan.
        latency_ms: of a plan; lower is better.
        storage: a SQLite file, or a URL of a database that Optuna can use.
        trials: finished trials that the study shall hold.
        study_name: of the study; one storage may hold several.
        seed: in one process, and with callables that repeat themselves, it decides every trial.
        starts: plans with explicit ranks to try early, such as those that meet a budget.
        made_for: what the figures depend on, by name; other processes must say the same.
        heartbeat_s: seconds between two signs of life of a trial's process.
        grace_s: seconds of silence after which its trial is tried again.
        progress: told about every finished trial.

    Raises:
        UsageError: bad numbers or storage; or the study was made for something else.
        GateError: several plans in a row gave no figures.
        Exception: what a callable raised for the first plan of all.
    """
    if trials < 1:
        raise UsageError(f"{trials} trials; expected at least 1")
    if heartbeat_s < 1 or grace_s <= heartbeat_s:
        raise UsageError(f"heartbeat {heartbeat_s} s, grace {grace_s} s; expected 1 s at least, more grace")
    dense, *uniform = space.starts()
    first = [dense, *(space.nearest(plan) for plan in starts), *uniform]
    purpose = {**(made_for or {}), _CHOICES: space.sha256}
    with _quiet(), _storage_errors(storage):
        database = open_storage(storage, heartbeat_s=heartbeat_s, grace_s=grace_s, when_dead=try_again)
        try:
            study = _join(database, study_name, seed, purpose)
            _enqueue(study, space, first)
            progress.start("Search", trials)
            try:
                Worker(
                    study, database, space, accuracy, latency_ms, trials, heartbeat_s, grace_s, progress
                ).work()
            finally:
                progress.finish()
            return _result(study)
        finally:
            database.engine.dispose()


def _join(database: RDBStorage, name: str, seed: int, purpose: Mapping[str, str]) -> optuna.Study:
    """The study, made where it is not there.

    Raises:
        UsageError: it was made for something else.
    """
    sampler = SeededByNumber(seed)
    try:
        study = optuna.create_study(
            storage=database, study_name=name, directions=["maximize", "minimize"], sampler=sampler
        )
    except DuplicatedStudyError:
        study = optuna.load_study(storage=database, study_name=name, sampler=sampler)
        made_for = _made_for(study)
        if made_for is not None:
            _check_purpose(study, made_for, purpose)
            return study
    study.set_user_attr(_MADE_FOR, dict(purpose))
    study.set_metric_names(["accuracy", "latency_ms"])
    return study


def _enqueue(study: optuna.Study, space: Space, first: Sequence[Chosen]) -> None:
    """Enqueue the first trials that the study does not have yet."""
    for chosen in first:
        study.enqueue_trial(space.parameters(chosen), skip_if_exists=True)
    study.set_user_attr(_READY, True)


def _made_for(study: optuna.Study) -> Mapping[str, str] | None:
    """What a study was made for, once whoever makes it is ready; None where that process died at once.

    Raises:
        UsageError: it is no study of ours.
    """
    end = time.monotonic() + _MAKING_S
    while _READY not in (known := study.user_attrs) and time.monotonic() < end:
        if _MADE_FOR not in known and study.get_trials(deepcopy=False):
            raise UsageError(f"study {study.study_name!r} was not made by tdedge search; choose another name")
        time.sleep(POLL_S)
    made_for: Mapping[str, str] | None = known.get(_MADE_FOR)
    return made_for


def _check_purpose(study: optuna.Study, made_for: Mapping[str, str], purpose: Mapping[str, str]) -> None:
    """Refuse a study whose figures are not comparable.

    Raises:
        UsageError: names the first difference.
    """
    for key in dict.fromkeys((*purpose, *made_for)):
        before, now = made_for.get(key), purpose.get(key)
        if before != now:
            what = "" if key == _CHOICES else f": {before or 'none'} then, {now or 'none'} now"
            raise UsageError(
                f"study {study.study_name!r} was made for another {key}{what}; choose another study name"
            )


def _result(study: optuna.Study) -> SearchResult:
    found = study.get_trials(deepcopy=False)
    return SearchResult(
        study.study_name,
        tuple(tried(trial) for trial in found if trial.state == TrialState.COMPLETE),
        {trial.number: reason_of(trial) for trial in found if trial.state == TrialState.FAIL},
        {key: value for key, value in study.user_attrs[_MADE_FOR].items() if key != _CHOICES},
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna reports through our progress alone; what it calls experimental is pinned by our tests."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used")
            yield
    finally:
        optuna.logging.set_verbosity(level)


@contextlib.contextmanager
def _storage_errors(location: str | Path) -> Iterator[None]:
    """A database that fails is one line."""
    try:
        yield
    except StorageInternalError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UsageError(f"storage {shown(location)} failed: {reason}") from error
