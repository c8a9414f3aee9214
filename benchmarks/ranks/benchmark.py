"""Accuracy at the same measured latency: ranks by time, by multiply-accumulates, uniform; three seeds.

    python -m benchmarks ranks

Every network is trained here, decomposed at ranks chosen in three ways, reconstructed on unlabelled data and
timed as planned for the runtime. No way is tuned on labels. What is done is kept, so that an interrupted run
goes on where it stopped.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from benchmarks.outcome import Outcome
from benchmarks.peers.environment import cache_folder
from benchmarks.ranks.choosing import WAYS
from benchmarks.ranks.networks import NETWORKS
from benchmarks.ranks.plot import accuracies
from benchmarks.ranks.points import Point, Study
from tdedge.progress import Progress
from tdedge_exporters.budgeting import TargetTimes
from tdedge_exporters.lowering import Target
from tdedge_exporters.planning import Planning
from tdedge_runtimes.environment import describe_environment
from tdedge_runtimes.measure import MeasureOptions

SEEDS = (0, 1, 2)
#: What a point says of accuracy -> in words.
STAGES = {"decomposed": "as decomposed", "accuracy": "reconstructed"}
#: What the fastest network may lose of the dense accuracy.
MAY_LOSE = 0.005
_TARGET = "onnxruntime"
_ABOUT = (
    "Every network is trained on data made or bundled here and decomposed at ranks chosen in three ways. "
    "Accuracies are on held-out samples, as decomposed and after the local reconstruction on 128 unlabelled "
    "samples; nothing is tuned on labels. `time` chooses formats and ranks (Tucker, tensor train, whole "
    "vectors) by planned milliseconds on this machine, `macs` the same formats by multiply-accumulates, both "
    "with the losses of the layers' outputs on the data; `uniform` takes one share of the channels "
    "everywhere, Tucker. All networks of a seed, planned for ONNX Runtime, are timed in one interleaved run. "
    "`at the same latency` is the mean difference in accuracy of `time` to another way over the latencies "
    "that both reach, interpolated; `fastest` is the latency, of the dense one, of the fastest network that "
    "loses at most half a point of the dense accuracy; in brackets each seed."
)


def run(options: MeasureOptions, progress: Progress, *, quick: bool) -> Outcome:
    """Every network and seed; ``quick``: one seed."""
    folder = cache_folder() / "ranks"
    folder.mkdir(parents=True, exist_ok=True)
    planning = Planning("normal", options.threads, folder / "costs.sqlite")
    times = TargetTimes(Target(_TARGET), planning)
    studies = {
        name: [
            Study(name, network, seed, folder, times, options, progress).points()
            for seed in (SEEDS[:1] if quick else SEEDS)
        ]
        for name, network in NETWORKS.items()
    }
    gains = {name: {stage: advantages(seeds, stage) for stage in STAGES} for name, seeds in studies.items()}
    speeds = {name: {stage: fastest(seeds, stage) for stage in STAGES} for name, seeds in studies.items()}
    document = {
        "schema_version": 1,
        "points": {
            name: [[asdict(p) for p in points] for points in seeds] for name, seeds in studies.items()
        },
        "at_the_same_latency": gains,
        "fastest": speeds,
    }
    tables = markdown(studies, gains, speeds)
    failures = tuple(failed(gains, speeds))
    return Outcome(
        describe_environment(), _ABOUT, tables, document, failures, {"": accuracies(studies, STAGES)}
    )


def failed(
    gains: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    speeds: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
) -> Iterator[str]:
    """Where ``time`` is neither more accurate at the same latency nor faster at the same accuracy."""
    for name, stages in gains.items():
        for stage, ways in stages.items():
            share = {way: statistics.fmean(values) for way, values in speeds[name][stage].items()}
            for way, values in ways.items():
                gain = statistics.fmean(values)
                if gain < 0 and share["time"] >= share[way]:
                    yield (
                        f"FAIL: {name}, {stage}: {way} is {-gain:.1%} above time at the same latency, and at "
                        f"the same accuracy takes {share[way]:.0%} of the dense time, not {share['time']:.0%}"
                    )


def fastest(seeds: Sequence[Sequence[Point]], stage: str) -> dict[str, list[float]]:
    """Way -> per seed, share of the dense latency of the fastest network that is about as accurate."""
    return {way: [_fastest(points, way, stage) for points in seeds] for way in WAYS}


def _fastest(points: Sequence[Point], way: str, stage: str) -> float:
    least = next(getattr(p, stage) for p in points if p.way == "dense") - MAY_LOSE
    return min(p.share for p in points if p.way in (way, "dense") and getattr(p, stage) >= least)


def advantages(seeds: Sequence[Sequence[Point]], stage: str) -> dict[str, list[float]]:
    """Other way -> per seed, mean accuracy of ``time`` less that of the other at the same latency."""
    return {
        way: [_advantage(_curve(points, "time", stage), _curve(points, way, stage)) for points in seeds]
        for way in WAYS
        if way != "time"
    }


def _curve(points: Sequence[Point], way: str, stage: str) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the dense latency, rising, and accuracies; the dense network is the end of every curve."""
    own = sorted((p.share, getattr(p, stage)) for p in points if p.way in (way, "dense"))
    shares, values = zip(*own, strict=True)
    return np.array(shares), np.array(values)


def _advantage(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    low, high = max(one[0][0], other[0][0]), min(one[0][-1], other[0][-1])
    grid = np.linspace(low, high, 101)
    return float(np.mean(np.interp(grid, *one) - np.interp(grid, *other)))


def markdown(
    studies: Mapping[str, Sequence[Sequence[Point]]],
    gains: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    speeds: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
) -> str:
    """A table of the comparison, then one per network."""
    lines = [
        "| network | accuracy | time over macs, at the same latency | time over uniform "
        f"| {' | '.join(f'fastest, {way}' for way in WAYS)} |",
        f"|---|---|---:|---:|{'---:|' * len(WAYS)}",
    ]
    for name, stages in gains.items():
        for stage, ways in stages.items():
            cells = [_difference(ways[way]) for way in ("macs", "uniform")]
            cells += [_share(speeds[name][stage][way]) for way in WAYS]
            lines.append(f"| {name} | {STAGES[stage]} | {' | '.join(cells)} |")
    for name, seeds in studies.items():
        lines += ["", f"## {name}: {NETWORKS[name].about}; {len(seeds)} seeds", "", *_table(seeds)]
    return "\n".join(lines) + "\n"


def _table(seeds: Sequence[Sequence[Point]]) -> list[str]:
    lines = [
        "| ranks by | latency | of dense | MACs | decomposed | each seed | reconstructed | each seed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    keys = dict.fromkeys((point.way, point.index) for points in seeds for point in points)
    for way, index in keys:
        row = [p for points in seeds for p in points if (p.way, p.index) == (way, index)]
        mean = {
            key: statistics.fmean(getattr(p, key) for p in row)
            for key in ("latency_ms", "share", "macs_share", "decomposed", "accuracy")
        }
        costs = f"{mean['latency_ms']:.3f} ms | {mean['share']:.0%} | {mean['macs_share']:.0%}"
        right = [
            f"{mean[stage]:.1%} | {', '.join(f'{100 * getattr(p, stage):.1f}' for p in row)}"
            for stage in STAGES
        ]
        lines.append(f"| {way} | {costs} | {' | '.join(right)} |")
    return lines


def _share(values: Sequence[float]) -> str:
    each = ", ".join(f"{100 * value:.0f}" for value in values)
    return f"{statistics.fmean(values):.0%} ({each})"


def _difference(values: Sequence[float]) -> str:
    each = ", ".join(f"{100 * value:+.1f}" for value in values)
    return f"{100 * statistics.fmean(values):+.1f} points ({each})"
