"""From what a page measured to the documents that every device returns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tdedge.errors import DeviceError
from tdedge_runtimes.figures import SCHEMA_VERSION, Figure, measured, not_measurable
from tdedge_runtimes.measure import Measurement, MeasureOptions
from tdedge_runtimes.memory import FIGURES
from tdedge_runtimes.session import describe_file
from tdedge_runtimes.statistics import summarise_ms

_UNTOLD = "not told by a browser"

_FOREIGN = not_measurable("share of all cores", "a page is told nothing of other programs")
_SAMPLE = "a sample is the mean of {calls} calls, at least 50 steps of the browser's clock long"


def environment(facts: Mapping[str, Any], versions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The browser in the form of ``tdedge_runtimes.environment``; its own facts are in ``browser``."""
    return {
        "system": facts["platform"],
        "kernel": _UNTOLD,
        "machine": _UNTOLD,
        "python": "none",
        "cpu_model": _UNTOLD,
        "board": None,
        "cores": facts["hardware_concurrency"],
        "affinity": not_measurable("cores", "a page cannot ask for cores"),
        "governor": not_measurable("governor", _UNTOLD),
        "frequency_mhz": not_measurable("MHz", _UNTOLD),
        "load_1min": not_measurable("runnable tasks", _UNTOLD),
        "temperature_celsius": not_measurable("degree Celsius", _UNTOLD),
        "thread_variables": {},
        "versions": dict(versions or {}),
        "browser": dict(facts),
    }


def latency(posted: Mapping[str, Any], files: Mapping[str, Path], options: MeasureOptions) -> dict[str, Any]:
    """The document of a latency job.

    Raises:
        DeviceError: the page's samples do not fit the job, or it was hidden all along.
    """
    if posted["hidden"]:
        raise DeviceError("the page was hidden whenever it measured; keep it in front, and run again")
    labels = list(files)
    models = _models(posted, files)
    samples = {label: posted["models"][label]["samples_ms"] for label in labels}
    orders = posted["orders"]
    _check_samples(samples, orders, options)
    step_ms = posted["facts"]["clock_step_ms"]
    measurement = Measurement(
        latencies_ms=samples,
        first_ms={label: _first(posted["models"][label]["first_ms"], step_ms) for label in labels},
        orders=orders,
        foreign_cpu=_FOREIGN,
        quiet=False,
        window_seconds=posted["window_s"] or 0.0,
    )
    statistics = measurement.statistics(options)
    for label, entry in models.items():
        entry["first_inference"] = measurement.first_ms[label]
        entry["latency"] = {
            "kind": "measured",
            "method": _method(options),
            **statistics[label],
            "calls_per_sample": posted["models"][label]["calls_per_sample"],
            "samples_ms": samples[label],
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "latency",
        "options": options.to_json(),
        "environment": _environment(posted),
        "models": models,
        "ratios": measurement.ratios(options),
        "orders": orders,
        "foreign_cpu": measurement.foreign_cpu,
        "quiet": measurement.quiet,
        "window": measured(measurement.window_seconds, "s"),
    }


def _method(options: MeasureOptions) -> str:
    before = {0: "", 1: "each sample after an untimed call; "}
    many = f"each sample after {options.untimed_calls} untimed calls; "
    sample = _SAMPLE.format(calls="calls_per_sample")
    return f"interleaved blocks in one page; {before.get(options.untimed_calls, many)}{sample}"


def load(posted: Mapping[str, Any], files: Mapping[str, Path], options: MeasureOptions) -> dict[str, Any]:
    """The document of a load job.

    Its times are those of the browser's clock, which is not the one that the device's sensors are sampled by.

    Raises:
        DeviceError: the page's answer is not one to the job.
    """
    result = single(posted, "load", files, options)
    (model,) = posted["models"].values()
    rows, told = model["samples_ms"], posted["load"]
    if told is None or not rows or len(rows) < 2 or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise DeviceError("the page answered without whole rows of samples; run again")
    if not all(sample > 0 for row in rows for sample in row):
        raise DeviceError("the page's samples are not all greater than zero")
    first = _first(model["first_ms"], posted["facts"]["clock_step_ms"])
    result["model"]["first_inference"] = first
    sample = _SAMPLE.format(calls=model["calls_per_sample"])
    statistics = summarise_ms(
        rows, confidence=options.confidence, resamples=options.resamples, seed=options.seed
    )
    result["load"] = {
        "begin_ns": round(told["begin_ms"] * 1e6),
        "end_ns": round(told["end_ms"] * 1e6),
        "inferences": told["inferences"],
        "latency": {"kind": "measured", "method": f"without a pause but to draw; {sample}", **statistics},
        "samples_ms": rows,
        "foreign_cpu": _FOREIGN,
    }
    return result


def single(
    posted: Mapping[str, Any], kind: str, files: Mapping[str, Path], options: MeasureOptions
) -> dict[str, Any]:
    """The document of a job with one model, all of a run or memory job.

    A page can see the heap of JavaScript at most, which holds neither WebAssembly's memory nor the runtime;
    so memory is never a figure here.
    """
    (entry,) = _models(posted, files).values()
    if kind == "memory":
        reason = "a browser tells a page the heap of JavaScript only, which holds no WebAssembly memory"
        entry["memory"] = {"method": "none", **{name: not_measurable("bytes", reason) for name in FIGURES}}
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "options": options.to_json(),
        "environment": _environment(posted),
        "model": entry,
    }


def _environment(posted: Mapping[str, Any]) -> dict[str, Any]:
    facts = {**posted["facts"], "hidden": posted["hidden"]}
    return environment(facts, posted["versions"])


def _models(posted: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    if posted["models"].keys() != files.keys():
        raise DeviceError(f"the page answered for {', '.join(posted['models'])}; expected {', '.join(files)}")
    described = {}
    for label, path in files.items():
        model = posted["models"][label]
        described[label] = {
            **describe_file(path),
            "session": model["session"],
            "inputs": model["inputs"],
            "outputs": model["outputs"],
            "load": measured(model["load_ms"], "ms"),
        }
    return described


def _first(first_ms: float | None, step_ms: float) -> Figure:
    if first_ms is None or first_ms < step_ms:
        return not_measurable("ms", f"shorter than one step of this browser's clock, {step_ms:g} ms")
    return measured(first_ms, "ms")


def _check_samples(
    samples: Mapping[str, list[list[float]] | None], orders: list[list[str]] | None, options: MeasureOptions
) -> None:
    blocks = len(orders or ())
    if orders is None or blocks < options.min_blocks or any(sorted(o) != sorted(samples) for o in orders):
        raise DeviceError(f"the page measured {blocks} whole blocks; expected at least {options.min_blocks}")
    for label, rows in samples.items():
        if rows is None or len(rows) != blocks or any(len(row) != options.per_block for row in rows):
            raise DeviceError(f"the page's samples of {label!r} do not fill its {blocks} blocks")
        if not all(sample > 0 for row in rows for sample in row):
            raise DeviceError(f"the page's samples of {label!r} are not all greater than zero")
