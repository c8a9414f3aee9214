"""One process at work on a study that others may work on too, and that any may leave at any time.

A trial is in the database before it is evaluated, and its figures are there once it is finished. Who takes
which trial is decided without a lock, by the trials' numbers, which the database gives in order:

    a trial takes a place unless it failed;
    it may be evaluated if fewer than N trials of lower number take a place.

Of N + 1 finished trials the one of the highest number had N before it when it asked, so it was never
evaluated: exactly N trials finish, whoever works on them. One that fails, or whose process dies, gives its
place back.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import OptunaError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from tdedge.errors import GateError, TdedgeError, UsageError
from tdedge.plan import CompressionPlan
from tdedge.progress import Progress
from tdedge.searching.result import Tried
from tdedge.searching.space import Space

#: How often a trial is tried again after its process died.
RETRIES = 2
#: Plans in a row that may fail before the search gives up.
FAILURES = 3
#: Seconds between two looks at what others do.
POLL_S = 0.2
#: What is kept of a trial beside its two figures.
_PLAN, _COST, _WORKER, _RETRIES, _REPEATS, _REASON = "plan", "cost", "worker", "retries", "repeats", "reason"

#: A figure of a plan.
Figure = Callable[[CompressionPlan], float]


@dataclass
class Worker:
    """Evaluates trials of a study.

    Attributes:
        study: the study.
        storage: where it is kept.
        space: what its trials choose from.
        accuracy: of a plan; higher is better.
        latency_ms: of a plan; called after ``accuracy`` of the same plan.
        trials: finished trials that the study shall hold.
        heartbeat_s: seconds between two signs of life of a trial's process.
        grace_s: seconds of silence after which its trial is tried again.
        progress: told about every finished trial, whoever finished it.
    """

    study: optuna.Study
    storage: RDBStorage
    space: Space
    accuracy: Figure
    latency_ms: Figure
    trials: int
    heartbeat_s: int
    grace_s: int
    progress: Progress
    _told: set[int] = field(default_factory=set)
    _failures: int = 0

    def work(self) -> None:
        """Evaluate trials until the study holds as many finished ones as wanted.

        Raises:
            GateError: several plans in a row gave no figures.
        """
        while True:
            found = self._look()
            if sum(trial.state == TrialState.COMPLETE for trial in found) >= self.trials:
                return
            if self._has_next(found):
                self._one_trial()
            else:
                time.sleep(POLL_S)

    def _look(self) -> list[FrozenTrial]:
        """Every trial, after those of dead processes were given up."""
        optuna.storages.fail_stale_trials(self.study)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _WORKER in trial.user_attrs or trial.datetime_start is None:
                continue  # it gave a sign of life, and Optuna watches for the next one
            if time.time() - trial.datetime_start.timestamp() > self.grace_s:
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                try_again(self.study, trial)
        found = self.study.get_trials(deepcopy=False)
        for trial in found:
            if trial.state == TrialState.COMPLETE and trial.number not in self._told:
                self._told.add(trial.number)
                self.progress.step(f"trial {trial.number}: {trial.values[0]:.4g}, {trial.values[1]:.4g} ms")
        return found

    def _has_next(self, found: Sequence[FrozenTrial]) -> bool:
        """Whether the trial that the study would give next has a place."""
        taking = [trial for trial in found if _takes_place(trial)]
        waiting = (place for place, trial in enumerate(taking) if trial.state == TrialState.WAITING)
        return next(waiting, len(taking)) < self.trials

    def _one_trial(self) -> None:
        trial = self.study.ask()
        try:
            with _alive(self.storage, self.study, trial, self.heartbeat_s):
                trial.set_user_attr(_WORKER, os.getpid())
                others = self.study.get_trials(deepcopy=False)
                if sum(_takes_place(each) for each in others if each.number < trial.number) >= self.trials:
                    self._give_back(trial, "another process took its place")
                    return
                values = self._evaluate(trial, others)
        except UpdateFinishedTrialError:  # others took this process for dead, and try the plan again
            return
        except OptunaError:  # the trial is tried again when it has been silent long enough
            raise
        except Exception as error:
            self._failed(trial, error)
            return
        except BaseException:
            self._give_back(trial, "interrupted")
            raise
        self._failures = 0
        self.study.tell(trial, list(values), skip_if_finished=True)

    def _evaluate(self, trial: Trial, others: Sequence[FrozenTrial]) -> tuple[float, float]:
        """Accuracy and latency of what the trial proposes; those of an earlier one of the same plan."""
        chosen = self.space.suggest(trial)
        plan = self.space.plan(chosen)
        content = plan.model_dump(mode="json", exclude_none=True)
        trial.set_user_attr(_PLAN, content)
        trial.set_user_attr(_COST, list(self.space.cost(chosen)))
        for other in others:
            if other.state == TrialState.COMPLETE and other.user_attrs[_PLAN] == content:
                trial.set_user_attr(_REPEATS, other.user_attrs.get(_REPEATS, other.number))
                return other.values[0], other.values[1]
        accuracy = _finite("the accuracy", self.accuracy(plan))
        return accuracy, _finite("the latency", self.latency_ms(plan))

    def _failed(self, trial: Trial, error: Exception) -> None:
        """Record why a plan gave no figures; stop where nothing works."""
        text = str(error) if isinstance(error, TdedgeError) else f"{type(error).__name__}: {error}"
        reason = " ".join(text.split())
        self._end(trial, reason)
        self._failures += 1
        if not self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise error
        if self._failures >= FAILURES:
            raise GateError(f"{FAILURES} plans in a row gave no figures; the last one: {reason}") from error

    def _give_back(self, trial: Trial, reason: str) -> None:
        """End a trial, and put what it was to try back into the queue."""
        self._end(trial, reason)
        frozen = next(each for each in self.study.get_trials() if each.number == trial.number)
        _enqueue_again(self.study, frozen, frozen.user_attrs.get(_RETRIES, 0))

    def _end(self, trial: Trial, reason: str) -> None:
        with contextlib.suppress(UpdateFinishedTrialError):
            trial.set_user_attr(_REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Put the trial of a process that died back into the queue, at most :data:`RETRIES` times."""
    retries = trial.user_attrs.get(_RETRIES, 0)
    if retries < RETRIES:
        _enqueue_again(study, trial, retries + 1)


def tried(trial: FrozenTrial) -> Tried:
    """A finished trial."""
    params, macs = trial.user_attrs[_COST]
    return Tried(
        number=trial.number,
        accuracy=trial.values[0],
        latency_ms=trial.values[1],
        params=params,
        macs=macs,
        plan=CompressionPlan.model_validate(trial.user_attrs[_PLAN]),
        repeats=trial.user_attrs.get(_REPEATS),
    )


def reason_of(trial: FrozenTrial) -> str:
    """Why a failed trial gave no figures."""
    return str(trial.user_attrs.get(_REASON, "its process died"))


def _enqueue_again(study: optuna.Study, trial: FrozenTrial, retries: int) -> None:
    """Enqueue what a trial was to try, if anything was chosen already."""
    values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if values:
        study.enqueue_trial(values, user_attrs={_RETRIES: retries})


def _takes_place(trial: FrozenTrial) -> bool:
    return trial.state not in (TrialState.FAIL, TrialState.PRUNED)


def _finite(name: str, value: Any) -> float:
    """The value as a number.

    Raises:
        UsageError: it is none, or not finite.
    """
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} is {value!r}; expected a number") from error
    if not math.isfinite(number):
        raise UsageError(f"{name} is {number}; expected a finite number")
    return number


@contextlib.contextmanager
def _alive(storage: RDBStorage, study: optuna.Study, trial: Trial, every_s: int) -> Iterator[None]:
    """Give signs of life of a trial while the block runs; the first one before it begins."""
    study_id = storage.get_study_id_from_name(study.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
    storage.record_heartbeat(trial_id)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(every_s):
            with contextlib.suppress(StorageInternalError):  # the next one may reach it
                storage.record_heartbeat(trial_id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
