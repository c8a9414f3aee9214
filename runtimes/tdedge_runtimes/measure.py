"""Latency of several loaded models, interleaved in one process.

The rules: every model is warmed up; then, block after block, each model makes a few timed calls, each right
after an untimed one (so that another model's data has left the caches before the clock starts; an emulated
machine has none and does without); the order of the models rotates from block to block. All models thus see
the same state of the machine, and their ratio is steadier than either latency. The CPU time that other
processes took in the same window is reported beside the samples.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.figures import Figure, measured
from tdedge_runtimes.foreign_cpu import foreign_share, read_cpu_times
from tdedge_runtimes.session import Array, Session
from tdedge_runtimes.statistics import ratio_of_medians, summarise_ms

_COUNTS = {
    "threads": 1,
    "warmup_calls": 0,
    "untimed_calls": 0,
    "per_block": 1,
    "min_blocks": 2,
    "max_blocks": 2,
    "resamples": 1,
    "seed": 0,
}
_SECONDS = ("warmup_seconds", "max_seconds")


@dataclass(frozen=True)
class MeasureOptions:
    """How latency is measured.

    Attributes:
        threads: Threads of one inference.
        warmup_calls: Untimed calls of each model before the first block, at least.
        warmup_seconds: Seconds of untimed calls of each model before the first block, at least.
        untimed_calls: Untimed calls before each timed one; 0 is for machines without caches, emulated ones.
        per_block: Timed calls of each model in a block.
        min_blocks: Blocks that are made whatever they take.
        max_blocks: Blocks after which measuring stops.
        max_seconds: Seconds after which no block beyond ``min_blocks`` begins.
        seed: Seed of random inputs and of the bootstrap.
        confidence: Coverage of the intervals, between 0 and 1.
        resamples: Bootstrap draws.
        quiet_limit: Largest share of all cores that other processes may use for a run to count as quiet.
        cpus: Cores the process is pinned to; empty leaves the choice to the system.

    Raises:
        RuntimeInputError: A value is out of its range.
    """

    threads: int = 1
    warmup_calls: int = 3
    warmup_seconds: float = 0.2
    untimed_calls: int = 1
    per_block: int = 2
    min_blocks: int = 10
    max_blocks: int = 500
    max_seconds: float = 10.0
    seed: int = 0
    confidence: float = 0.95
    resamples: int = 2000
    quiet_limit: float = 0.06
    cpus: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise RuntimeInputError(f"option {name} is {value!r}; expected a whole number from {least}")
        for name in (*_SECONDS, "confidence", "quiet_limit"):
            value = getattr(self, name)
            most = float("inf") if name in _SECONDS else 1
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                bounds = "a number of at least 0" if name in _SECONDS else "a number between 0 and 1"
                raise RuntimeInputError(f"option {name} is {value!r}; expected {bounds}")
        if self.confidence in (0, 1):
            raise RuntimeInputError(
                f"option confidence is {self.confidence!r}; expected more than 0 and less than 1"
            )
        if self.max_blocks < self.min_blocks:
            raise RuntimeInputError(
                f"option max_blocks is {self.max_blocks}; expected at least min_blocks, {self.min_blocks}"
            )
        if any(isinstance(cpu, bool) or not isinstance(cpu, int) or cpu < 0 for cpu in self.cpus):
            raise RuntimeInputError(f"option cpus is {list(self.cpus)}; expected core numbers")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MeasureOptions:
        """The options of a JSON object; absent ones keep their defaults.

        Raises:
            RuntimeInputError: Unknown name, or a value out of its range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = get_close_matches(name, known, 1) or known[:1]
                raise RuntimeInputError(f"unknown option {name!r}; did you mean {near[0]!r}?")
        given = dict(values)
        if "cpus" in given:
            if not isinstance(given["cpus"], list | tuple):
                raise RuntimeInputError(f"option cpus is {given['cpus']!r}; expected a list of core numbers")
            given["cpus"] = tuple(given["cpus"])
        return cls(**given)

    def counted(self) -> MeasureOptions:
        """The same for a clock that counts instructions: one call takes what the next one takes.

        The first inference of every model, which comes before its samples, is warm-up enough.
        """
        return replace(
            self,
            warmup_calls=0,
            warmup_seconds=0.0,
            untimed_calls=0,
            per_block=1,
            min_blocks=2,
            max_blocks=2,
            max_seconds=0.0,
            resamples=1,
        )

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values."""
        return {**asdict(self), "cpus": list(self.cpus)}


@dataclass(frozen=True)
class Measurement:
    """Raw samples of several models from one interleaved run.

    Attributes:
        latencies_ms: Model -> block -> timed calls, milliseconds.
        first_ms: Model -> its very first inference, milliseconds.
        orders: The order of the models in each block.
        foreign_cpu: Share of all cores that other processes used in the window, or a reason.
        quiet: Whether that share is known and within the limit.
        window_seconds: Length of the window: the warm-up and all blocks.
    """

    latencies_ms: dict[str, list[list[float]]]
    first_ms: dict[str, Figure]
    orders: list[list[str]]
    foreign_cpu: Figure
    quiet: bool
    window_seconds: float

    def statistics(self, options: MeasureOptions) -> dict[str, dict[str, Any]]:
        """Statistics of every model's latencies; see ``summarise_ms``."""
        return {
            label: summarise_ms(
                blocks, confidence=options.confidence, resamples=options.resamples, seed=options.seed
            )
            for label, blocks in self.latencies_ms.items()
        }

    def ratios(self, options: MeasureOptions) -> dict[str, dict[str, Any]]:
        """Speed-up of every later model over the first: first median / its median, with its interval."""
        first, *others = self.latencies_ms
        return {
            label: {
                "kind": "measured",
                "reference": first,
                "speedup": ratio_of_medians(
                    self.latencies_ms[first],
                    self.latencies_ms[label],
                    confidence=options.confidence,
                    resamples=options.resamples,
                    seed=options.seed,
                ).to_json(),
            }
            for label in others
        }


def block_order(labels: list[str], block: int) -> list[str]:
    """The order of the models in a block: rotated by one from block to block."""
    turn = block % len(labels)
    return labels[turn:] + labels[:turn]


def measure(
    sessions: Mapping[str, Session],
    inputs: Mapping[str, Mapping[str, Array]],
    options: MeasureOptions,
) -> Measurement:
    """Measure loaded models side by side.

    Args:
        sessions: Label -> loaded model; the first is the reference of the ratios.
        inputs: Label -> input name -> array.
        options: Counts, budgets and seed.

    Raises:
        RuntimeInputError: No model, or an input that does not fit.
    """
    labels = list(sessions)
    if not labels:
        raise RuntimeInputError("there is no model to measure; give at least one")
    calls = {label: session.bind(inputs[label]) for label, session in sessions.items()}
    first_ms = {label: measured(_timed_ms(call), "ms") for label, call in calls.items()}
    latencies: dict[str, list[list[float]]] = {label: [] for label in labels}
    orders: list[list[str]] = []
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        before, window_start = read_cpu_times(), time.perf_counter()
        for call in calls.values():
            _warm_up(call, options)
        start = time.perf_counter()
        while len(orders) < options.max_blocks:
            if len(orders) >= options.min_blocks and time.perf_counter() - start >= options.max_seconds:
                break
            order = block_order(labels, len(orders))
            for label in order:
                latencies[label].append(_block_ms(calls[label], options))
            orders.append(order)
        window, after = time.perf_counter() - window_start, read_cpu_times()
    finally:
        if collecting:
            gc.enable()
    foreign = foreign_share(before, after)
    quiet = foreign["value"] is not None and foreign["value"] <= options.quiet_limit
    return Measurement(latencies, first_ms, orders, foreign, quiet, window)


def _timed_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def _block_ms(call: Callable[[], object], options: MeasureOptions) -> list[float]:
    samples = []
    for _ in range(options.per_block):
        for _ in range(options.untimed_calls):
            call()
        samples.append(_timed_ms(call))
    return samples


def _warm_up(call: Callable[[], object], options: MeasureOptions) -> None:
    start, made = time.perf_counter(), 0
    while made < options.warmup_calls or time.perf_counter() - start < options.warmup_seconds:
        call()
        made += 1
