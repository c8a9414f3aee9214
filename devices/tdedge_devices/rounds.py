"""Latency in rounds: each a fresh process on the device with all models interleaved, each counted or not."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tdedge_devices import throttling
from tdedge_devices.conditions import Conditions
from tdedge_devices.cooling import Gate
from tdedge_runtimes.figures import Figure
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.statistics import ratio_of_medians, summarise_ms

Read = Callable[[], Conditions]


def measure_round(do: Callable[[], dict[str, Any]], gate: Gate, read: Read) -> dict[str, Any]:
    """One round: the result of its latency job, with the conditions around it and why it does not count.

    Args:
        do: does the latency job.
        gate: how the round came to begin.
        read: the conditions of the device.
    """
    before = read()
    result = do()
    after = read()
    reasons = [reason for reason in (gate.reason, *throttling.reasons(before, after)) if reason]
    return {
        "valid": not reasons,
        "reasons": reasons,
        "gate": gate.to_json(),
        "before": before.to_json(),
        "after": after.to_json(),
        "result": result,
    }


def merge(rounds: Sequence[Mapping[str, Any]], options: MeasureOptions) -> dict[str, Any]:
    """One result of several rounds: their samples together, in blocks as they were measured.

    Load and first inference are medians over the rounds, each of which is a process of its own.
    """
    results = [one["result"] for one in rounds]
    first = results[0]
    labels = list(first["models"])
    models = {}
    for label in labels:
        each = [result["models"][label] for result in results]
        blocks = [block for entry in each for block in entry["latency"]["samples_ms"]]
        old = each[0]["latency"]
        models[label] = {
            **each[0],
            "load": _median([entry["load"] for entry in each]),
            "first_inference": _median([entry["first_inference"] for entry in each]),
            "latency": {
                "kind": old["kind"],
                "method": f"{len(results)} rounds: {old['method']}" if len(results) > 1 else old["method"],
                **(_statistics(blocks, options) if blocks else {k: old[k] for k in old if k not in _KEPT}),
                **_calls_per_sample([entry["latency"] for entry in each]),
                "samples_ms": blocks,
            },
        }
    return {
        "schema_version": first["schema_version"],
        "kind": "bench",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": options.to_json(),
        "environment": first["environment"],
        "models": models,
        "ratios": _ratios(models, first, options),
        "orders": [order for result in results for order in result["orders"]],
        "foreign_cpu": _largest([result["foreign_cpu"] for result in results]),
        "quiet": all(result["quiet"] for result in results),
        "window": _sum([result["window"] for result in results]),
    }


def _calls_per_sample(latencies: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The most calls that a sample is the mean of; nothing where every sample is one call."""
    calls = [one["calls_per_sample"] for one in latencies if "calls_per_sample" in one]
    return {"calls_per_sample": max(calls)} if calls else {}


_KEPT = {"kind", "method", "samples_ms"}


def _statistics(blocks: list[list[float]], options: MeasureOptions) -> dict[str, Any]:
    return summarise_ms(
        _even(blocks), confidence=options.confidence, resamples=options.resamples, seed=options.seed
    )


def _even(blocks: list[list[float]]) -> list[list[float]]:
    """Blocks of one length: where they differ, as from tools that print samples, each call is a block."""
    if len({len(block) for block in blocks}) == 1:
        return blocks
    return [[sample] for block in blocks for sample in block]


def _ratios(
    models: Mapping[str, Mapping[str, Any]], first: Mapping[str, Any], options: MeasureOptions
) -> dict[str, Any]:
    reference, *others = models
    above = models[reference]["latency"]["samples_ms"]
    ratios = {}
    for label in others:
        below = models[label]["latency"]["samples_ms"]
        if not above or [len(block) for block in above] != [len(block) for block in below]:
            if label in first["ratios"]:
                ratios[label] = first["ratios"][label]
            continue
        interval = ratio_of_medians(
            _even(above),
            _even(below),
            confidence=options.confidence,
            resamples=options.resamples,
            seed=options.seed,
        )
        kind = models[label]["latency"]["kind"]
        ratios[label] = {"kind": kind, "reference": reference, "speedup": interval.to_json()}
    return ratios


def _median(figures: Sequence[Figure]) -> Figure:
    known = [figure for figure in figures if figure["value"] is not None]
    return (
        {**known[0], "value": statistics.median(figure["value"] for figure in known)} if known else figures[0]
    )


def _largest(figures: Sequence[Figure]) -> Figure:
    known = [figure for figure in figures if figure["value"] is not None]
    return max(known, key=lambda figure: float(figure["value"])) if known else figures[0]


def _sum(figures: Sequence[Figure]) -> Figure:
    known = [figure for figure in figures if figure["value"] is not None]
    return {**known[0], "value": sum(figure["value"] for figure in known)} if known else figures[0]
