"""From candidates to milliseconds: which trials are needed, timed once, added up."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from tdedge.errors import UnsupportedError
from tdedge.progress import SILENT, Progress, track
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.candidates import Candidate
from tdedge_exporters.planner.costs import Cost, CostTable, Place
from tdedge_exporters.planner.layouts import Label
from tdedge_exporters.planner.roofline import Roofline
from tdedge_exporters.planner.timing import has_integer_ends, lower_trial
from tdedge_exporters.planner.trials import (
    Port,
    Trial,
    base_trial,
    candidate_trial,
    conversion_trial,
    key_sha256,
)
from tdedge_runtimes.errors import RuntimeMissing, RuntimesError
from tdedge_runtimes.measure import MeasureOptions

#: Times models side by side: label -> file, how -> label -> cost.
Measure = Callable[[Mapping[str, Path], Target, MeasureOptions], Mapping[str, Cost]]

#: Trials that share one process, interleaved.
BATCH = 12
#: The cost of what the target cannot run.
IMPOSSIBLE_MS = 1e6


@dataclass
class Pricing:
    """Times of trials on one target, from the table or measured now.

    Attributes:
        table: known times; new ones are added.
        place: where they are valid.
        target: what trials are lowered to.
        measure: times files.
        options: how.
        opset: of the trials' graphs.
        roofline: predicts what the table lacks, in the place of timing it; predictions are not kept.
        confirms: whether what decides a plan is timed twice.
        measured: trials that were timed now.
        predicted: predictions by the SHA-256 of their trials.
    """

    table: CostTable
    place: Place
    target: Target
    measure: Measure
    options: MeasureOptions
    opset: int
    roofline: Roofline | None = None
    confirms: bool = False
    measured: int = 0
    predicted: dict[str, Cost] = field(default_factory=dict)

    def prepare(
        self,
        candidates: Sequence[Candidate],
        conversions: Iterable[tuple[ir.Value, Label, Label]],
        progress: Progress = SILENT,
    ) -> None:
        """Time every trial that the candidates and conversions need and the table lacks."""
        pairs = [candidate_trial(candidate, self.opset) for candidate in candidates]
        pairs += [conversion_trial(*conversion, self.opset) for conversion in conversions]
        trials = (each for pair in pairs for each in self._with_bases(*pair))
        needed = {each.sha256: each for each in trials if self._known(each) is None}
        if self.roofline is not None:
            for sha256, trial in needed.items():
                self.predicted[sha256] = Cost(self.roofline.predict_ms(trial.build()))
            return
        self._in_batches(needed, self._time, "Time forms", progress)

    def confirm(self, candidates: Sequence[Candidate], progress: Progress = SILENT) -> bool:
        """Time the trials of candidates, and their bases, again; whether any had been timed once only."""
        pairs = (candidate_trial(candidate, self.opset) for candidate in candidates)
        trials = (each for pair in pairs for each in self._with_bases(*pair))
        once = (each for each in trials if self._known(each) is not None and self._again(each) is None)
        needed = {each.sha256: each for each in once}
        self._in_batches(needed, self._time_again, "Time what decides again", progress)
        return bool(needed)

    def _with_bases(self, trial: Trial, ports: Sequence[Port]) -> list[Trial]:
        """A trial, and those that its price is told from."""
        return [trial, *(base_trial(port, self.opset) for port in ports)]

    def _in_batches(
        self,
        needed: Mapping[str, Trial],
        time: Callable[[Sequence[Trial]], None],
        title: str,
        progress: Progress,
    ) -> None:
        trials = sorted(needed.values(), key=lambda trial: trial.macs)
        batches = [trials[i : i + BATCH] for i in range(0, len(trials), BATCH)]
        for batch in track(((f"{len(b)} trials", b) for b in batches), progress, title, len(batches)):
            time(batch)

    def _time(self, batch: Sequence[Trial]) -> None:
        """Time trials; what fails stays without a time: impossible."""
        for trial, cost in self._times(batch):
            self.table.put(self.place, *self._key(trial), cost)

    def _time_again(self, batch: Sequence[Trial]) -> None:
        """Time trials that have a time; what fails now keeps that one."""
        times = dict(self._times(batch))
        for trial in batch:
            known = self._known(trial)
            assert known is not None
            self.table.put(self.place, *self._key(trial, again=True), times.get(trial, known))

    def _times(self, batch: Sequence[Trial]) -> list[tuple[Trial, Cost]]:
        with tempfile.TemporaryDirectory() as scratch:
            files: dict[str, Path] = {}
            for index, trial in enumerate(batch):
                folder = Path(scratch) / str(index)
                folder.mkdir()
                with contextlib.suppress(UnsupportedError):
                    files[trial.sha256] = lower_trial(trial.build(), folder, self.target).entry
            costs = self._measured(files)
        self.measured += len(costs)
        return [(trial, costs[trial.sha256]) for trial in batch if trial.sha256 in costs]

    def _measured(self, files: Mapping[str, Path]) -> Mapping[str, Cost]:
        """Times of files; where they fail together each is timed alone, and what fails then is impossible.

        Raises:
            RuntimesError: nothing could be timed at all.
        """
        if not files:
            return {}
        try:
            return self._quietest(files)
        except RuntimeMissing:
            raise
        except RuntimesError as error:
            failed = error
        found: dict[str, Cost] = {}
        for label, path in files.items() if len(files) > 1 else ():
            with contextlib.suppress(RuntimesError):
                found |= self._quietest({label: path})
        if not found and not self.measured:
            raise failed
        return found

    def _quietest(self, files: Mapping[str, Path]) -> Mapping[str, Cost]:
        """Times of files, taken once more where other processes were busy; the shorter of the two."""
        first = self.measure(files, self.target, self.options)
        if all(cost.quiet for cost in first.values()):
            return first
        second = self.measure(files, self.target, self.options)
        return {label: min(cost, second[label], key=lambda c: c.median_ms) for label, cost in first.items()}

    def _known(self, trial: Trial) -> Cost | None:
        """The first time of a trial."""
        return self.table.get(self.place, self._key(trial)[0])

    def _again(self, trial: Trial) -> Cost | None:
        """Its second time."""
        return self.table.get(self.place, self._key(trial, again=True)[0])

    def _ms(self, trial: Trial) -> float | None:
        """The shorter of both, or what is predicted."""
        known = (self._known(trial), self._again(trial), self.predicted.get(trial.sha256))
        return min((cost.median_ms for cost in known if cost is not None), default=None)

    def _key(self, trial: Trial, *, again: bool = False) -> tuple[str, dict[str, Any]]:
        """What identifies a trial's time here."""
        ends = {"ends": "int8"} if has_integer_ends(self.target) else {}
        if not ends and not again:
            return trial.sha256, trial.key
        key = {**trial.key, **ends, **({"time": 2} if again else {})}
        return key_sha256(key), key

    def candidate_ms(self, candidate: Candidate) -> float:
        """What a candidate costs in its place."""
        return self._price(*candidate_trial(candidate, self.opset))

    def conversion_ms(self, value: ir.Value, source: Label, target: Label) -> float:
        """What storing a value otherwise costs."""
        return self._price(*conversion_trial(value, source, target, self.opset))

    def _price(self, trial: Trial, ports: Sequence[Port]) -> float:
        whole, *bases = map(self._ms, self._with_bases(trial, ports))
        known = [base for base in bases if base is not None]
        if whole is None or len(known) < len(bases):
            return IMPOSSIBLE_MS
        return max(whole - sum(known) / 2, 0.0)


def local_measure(files: Mapping[str, Path], target: Target, options: MeasureOptions) -> dict[str, Cost]:
    """Time files in a worker process on this machine, interleaved.

    Raises:
        RuntimesError: the worker or the runtime failed.
    """
    from tdedge_runtimes.client import run_job

    return costs_of(run_job(latency_job(files, target, options)))


def latency_job(files: Mapping[str, Path], target: Target, options: MeasureOptions) -> dict[str, Any]:
    """The job of the worker that times files side by side."""
    models = {
        label: {"path": str(path), "runtime": target.runtime, "precision": target.precision}
        for label, path in files.items()
    }
    return {"kind": "latency", "models": models, "options": options.to_json()}


def costs_of(result: Mapping[str, Any]) -> dict[str, Cost]:
    """The costs in the result of that job."""
    costs = {}
    for label, model in result["models"].items():
        latency = model["latency"]
        costs[label] = Cost(latency["median_ms"], latency["mad_ms"], latency["count"], result["quiet"])
    return costs
