"""Results in the worker's shape from the runtimes' own programs: latency, memory, operators, load."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tdedge_devices.tools.binaries import Binary
from tdedge_devices.tools.program import Block, Place, Program
from tdedge_runtimes.errors import RuntimesError
from tdedge_runtimes.figures import Figure, measured, not_measurable
from tdedge_runtimes.foreign_cpu import CpuTimes, foreign_share
from tdedge_runtimes.measure import Measurement, MeasureOptions, block_order
from tdedge_runtimes.memory import FIELDS, HEAP, PSS
from tdedge_runtimes.session import describe_file, open_session, runtime_of
from tdedge_runtimes.statistics import summarise_ms

_TICKS_PER_SECOND = 100  # USER_HZ of every Android


@dataclass(frozen=True)
class Subject:
    """One model and what measures it.

    Attributes:
        program: the program's ways.
        binary: the file it is.
        place: where it lies on the device.
        model: path of the model there.
        file: the model's entry of the result, as far as its file tells.
    """

    program: Program
    binary: Binary
    place: Place
    model: str
    file: Mapping[str, Any]


def described(name: str, content: bytes) -> dict[str, Any]:
    """The entry of a model that is no file here."""
    digest = hashlib.sha256(content).hexdigest()
    return {"file": name, "file_bytes": len(content), "sha256": digest, "inputs": [], "outputs": []}


def described_file(path: str) -> dict[str, Any]:
    """The entry of a model file; inputs and outputs as its runtime on this machine tells them, if any."""
    tensors: dict[str, Any] = {"inputs": [], "outputs": []}
    with suppress(RuntimesError), open_session(runtime_of(path), path) as session:
        tensors = {
            "inputs": [info.to_json() for info in session.inputs],
            "outputs": [info.to_json() for info in session.outputs],
        }
    return {**describe_file(path), **tensors}


def latency(subjects: Mapping[str, Subject], options: MeasureOptions) -> dict[str, Any]:
    """Blocks of all models in turn, each block a process, until ``options`` are satisfied."""
    labels = list(subjects)
    samples: dict[str, list[list[float]]] = {label: [] for label in labels}
    first: dict[str, Block] = {}
    cpu: list[tuple[CpuTimes, CpuTimes]] = []
    orders: list[list[str]] = []
    start = time.monotonic()
    while len(orders) < options.max_blocks:
        if len(orders) >= options.min_blocks and time.monotonic() - start >= options.max_seconds:
            break
        order = block_order(labels, len(orders))
        for label in order:
            subject = subjects[label]
            block = subject.program.block(subject.place, subject.model, options)
            samples[label].append(list(block.samples_ms))
            first.setdefault(label, block)
            cpu.append(block.cpu)
        orders.append(order)
    foreign = _foreign(cpu)
    quiet = foreign["value"] is not None and foreign["value"] <= options.quiet_limit
    window_s = time.monotonic() - start
    first_ms = {label: _first(subjects[label], block.first_ms) for label, block in first.items()}
    result = Measurement(samples, first_ms, orders, foreign, quiet, window_s)
    figures = result.statistics(options)
    models = {}
    for label, subject in subjects.items():
        per_sample = first[label].calls_per_sample
        models[label] = {
            **_entry(subject, options, first[label].load_ms),
            "first_inference": first_ms[label],
            "latency": {
                "kind": "measured",
                "method": subject.program.method,
                **figures[label],
                "samples_ms": samples[label],
                **({"calls_per_sample": per_sample} if per_sample > 1 else {}),
            },
        }
    return {
        "models": models,
        "ratios": result.ratios(options),
        "orders": orders,
        "foreign_cpu": foreign,
        "quiet": quiet,
        "window": measured(window_s, "s"),
    }


def memory(subject: Subject, options: MeasureOptions, runs: int) -> dict[str, Any]:
    """The memory of a process of the program, watched while it runs."""
    block = subject.program.memory(subject.place, subject.model, options, runs)
    name = subject.program.name
    unseen = not_measurable("bytes", f"{name} had ended before the device told its memory")
    seen = {line: measured(value, "bytes") for line, value in block.memory_bytes.items()}
    figures = {figure: seen.get(line, unseen) for figure, line in FIELDS.items()}
    figures[HEAP] = not_measurable("bytes", f"{name} does not tell what its allocator has given out")
    figures[PSS] = seen.get("Pss", unseen)
    method = f"a process of {name}, /proc/PID/status and smaps_rollup every 50 ms while it runs"
    return {
        "model": {
            **_entry(subject, options, block.load_ms),
            "memory": {"method": method, **figures},
        }
    }


def profile(subject: Subject, options: MeasureOptions, runs: int) -> dict[str, Any]:
    """The time of every operator."""
    told = subject.program.profile(subject.place, subject.model, options, runs)
    return {
        "model": {
            **_entry(subject, options, told.load_ms),
            "profile": {
                "kind": "measured",
                "method": told.method,
                "runs": told.runs,
                "total_median_us": sum(op.median_us for op in told.ops),
                "ops": [op.to_json() for op in told.ops],
            },
        }
    }


def load(subject: Subject, options: MeasureOptions, seconds: float, least: int) -> dict[str, Any]:
    """Inference without a pause; its moments are of the device's ``/proc/uptime``."""
    done = subject.program.load(subject.place, subject.model, options, seconds, least)
    figures = summarise_ms(
        done.rows_ms, confidence=options.confidence, resamples=options.resamples, seed=options.seed
    )
    return {
        "model": {
            **_entry(subject, options, done.load_ms),
            "first_inference": _first(subject, done.first_ms),
        },
        "load": {
            "begin_ns": round(done.begin_s * 1e9),
            "end_ns": round(done.end_s * 1e9),
            "inferences": done.inferences,
            "latency": {"kind": "measured", "method": done.method, **figures},
            "samples_ms": done.rows_ms,
            "foreign_cpu": _foreign([done.cpu]),
        },
    }


def _entry(subject: Subject, options: MeasureOptions, load_ms: float) -> dict[str, Any]:
    name, digest = subject.program.name, subject.binary.sha256
    return {
        **subject.file,
        "session": {
            "runtime": subject.program.runtime,
            "version": f"{name} sha256:{digest[:16]}",
            "threads": options.threads,
            "execution": {"program": name, "program_sha256": digest},
        },
        "load": measured(load_ms, "ms"),
    }


def _first(subject: Subject, first_ms: float | None) -> Figure:
    if first_ms is None:
        return not_measurable(
            "ms", f"this build of {subject.program.name} does not tell it, or less than 1 ms"
        )
    return measured(first_ms, "ms")


def _foreign(readings: list[tuple[CpuTimes, CpuTimes]]) -> Figure:
    """The share of the device's cores that others used while the programs ran, their times put together."""
    reason = next((after.reason for _, after in readings if after.reason), "")
    before = CpuTimes(0, 0, 0.0, reason)
    after = CpuTimes(
        sum(two.busy_ticks - one.busy_ticks for one, two in readings),
        sum(two.total_ticks - one.total_ticks for one, two in readings),
        sum(two.own_seconds for _, two in readings),
        reason,
    )
    return foreign_share(before, after, ticks_per_second=_TICKS_PER_SECOND)
