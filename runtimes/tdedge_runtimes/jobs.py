"""The kinds of job of the worker process, each from a checked JSON object to a JSON object.

    {"schema_version": 1, "kind": "latency", "models": {"dense": MODEL, ...}, "options": {...}}
    {"schema_version": 1, "kind": "memory", "model": MODEL or BASELINE, "options": {...}, "runs": 3}
    {"schema_version": 1, "kind": "run", "model": MODEL, "inputs": "in.npz", "outputs": "out.npz"}
    {"schema_version": 1, "kind": "profile", "model": MODEL, "options": {...}, "runs": 20}
    {"schema_version": 1, "kind": "environment"}
    {"schema_version": 1, "kind": "load", "model": MODEL, "options": {...}, "seconds": 10,
     "min_inferences": 10}

MODEL is ``{"path": ..., "runtime": ..., "precision": ..., "inputs": "x.npz"}``; only the path is required.
BASELINE is ``{"baseline": ".onnx", "runtime": ...}``: the one-operation model. ``options`` are those of
``MeasureOptions``. A profile tells the time of every operator.
A load is inference without a pause, for energy and for what happens when it lasts (``tdedge_runtimes.load``).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from tdedge_runtimes.environment import describe_environment
from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.figures import SCHEMA_VERSION, measured
from tdedge_runtimes.load import make_load
from tdedge_runtimes.measure import MeasureOptions, measure
from tdedge_runtimes.memory import baseline_model, baseline_suffix, read_memory
from tdedge_runtimes.operator_times import OpTime
from tdedge_runtimes.session import (
    Array,
    Session,
    describe_file,
    load_inputs,
    load_runtime,
    open_session,
    random_inputs,
    runtime_of,
    save_arrays,
)

_MODEL_KEYS = {"path", "runtime", "precision", "inputs", "baseline"}
_JOB_KEYS = {
    "latency": {"models"},
    "memory": {"model", "runs"},
    "run": {"model", "inputs", "outputs"},
    "profile": {"model", "runs"},
    "environment": set(),
    "load": {"model", "seconds", "min_inferences"},
}

#: The kinds of job.
KINDS = frozenset(_JOB_KEYS)

_COMMON_KEYS = {"schema_version", "kind", "options"}


def do_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do one job in this process.

    Raises:
        RuntimesError: See the kinds of error; every one has an exit code and one line.
    """
    kind = job.get("kind")
    if kind not in _JOB_KEYS:
        raise RuntimeInputError(f"unknown kind of job {kind!r}; expected one of {', '.join(_JOB_KEYS)}")
    _only(job, _JOB_KEYS[kind] | _COMMON_KEYS, f"a {kind} job")
    options = MeasureOptions.from_json(_mapping(job.get("options", {}), "options"))
    handler: Callable[[Mapping[str, Any], MeasureOptions], dict[str, Any]] = {
        "latency": _latency,
        "memory": _memory,
        "run": _run,
        "profile": _profile,
        "environment": _environment,
        "load": _load,
    }[kind]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "options": options.to_json(),
        **handler(job, options),
    }


def _latency(job: Mapping[str, Any], options: MeasureOptions) -> dict[str, Any]:
    specs = _mapping(job.get("models"), "models")
    sessions: dict[str, Session] = {}
    described: dict[str, dict[str, Any]] = {}
    inputs: dict[str, dict[str, Array]] = {}
    with ExitStack() as stack:
        for label, spec in specs.items():
            sessions[label], described[label] = _open(stack, _mapping(spec, f"model {label!r}"), options)
            inputs[label] = _inputs(sessions[label], spec, options)
        environment = describe_environment()
        result = measure(sessions, inputs, options)
    statistics = result.statistics(options)
    for label, entry in described.items():
        entry["first_inference"] = result.first_ms[label]
        entry["latency"] = {
            "kind": "measured",
            "method": _latency_method(options),
            **statistics[label],
            "samples_ms": result.latencies_ms[label],
        }
    return {
        "environment": environment,
        "models": described,
        "ratios": result.ratios(options),
        "orders": result.orders,
        "foreign_cpu": result.foreign_cpu,
        "quiet": result.quiet,
        "window": measured(result.window_seconds, "s"),
    }


def _latency_method(options: MeasureOptions) -> str:
    after = {0: "", 1: "; each timed call after an untimed one"}
    many = f"; each timed call after {options.untimed_calls} untimed ones"
    return "interleaved blocks in one process" + after.get(options.untimed_calls, many)


def _memory(job: Mapping[str, Any], options: MeasureOptions) -> dict[str, Any]:
    spec = _mapping(job.get("model"), "model")
    runs = _count(job, "runs", 3)
    with ExitStack() as stack:
        session, described = _open(stack, spec, options)
        call = session.bind(_inputs(session, spec, options))
        for _ in range(runs):
            call()
        figures = read_memory()
    described["memory"] = {"method": f"fresh process, {runs} inferences, /proc/self/status", **figures}
    return {"environment": describe_environment(), "model": described}


def _run(job: Mapping[str, Any], options: MeasureOptions) -> dict[str, Any]:
    spec = _mapping(job.get("model"), "model")
    for key in ("inputs", "outputs"):
        if not isinstance(job.get(key), str):
            raise RuntimeInputError(f"a run job needs {key!r}, the path of an .npz file")
    with ExitStack() as stack:
        session, described = _open(stack, spec, options)
        outputs = session.run(load_inputs(job["inputs"]))
    try:
        save_arrays(job["outputs"], outputs)
    except OSError as error:
        raise RuntimeInputError(f"cannot write {job['outputs']!r}: {error.strerror}") from None
    return {"environment": describe_environment(), "model": described}


_EACH = "each profiled by itself by the runtime"
_PROFILED = {"openvino": "from the averages the runtime tells; their mean"}


def _profile(job: Mapping[str, Any], options: MeasureOptions) -> dict[str, Any]:
    spec = _mapping(job.get("model"), "model")
    runs = _count(job, "runs", 20)
    if "path" not in spec:
        raise RuntimeInputError("a profile needs a model with 'path', the model file")
    with ExitStack() as stack:
        session, described = _open(stack, spec, options)
        runtime, inputs = described["session"]["runtime"], _inputs(session, spec, options)
    path, keywords = str(spec["path"]), {"threads": options.threads, "runs": runs, "inputs": inputs}
    if runtime != "tflite":
        keywords["precision"] = str(spec.get("precision") or "float32")
    profile: Callable[..., list[OpTime]] = import_module(f"tdedge_runtimes.{runtime}_profile").profile
    ops = profile(path, **keywords)
    described["profile"] = {
        "kind": "measured",
        "method": f"{runs} runs in one process, {_PROFILED.get(runtime, _EACH)}",
        "runs": runs,
        "total_median_us": sum(op.median_us for op in ops),
        "ops": [op.to_json() for op in ops],
    }
    return {"environment": describe_environment(), "model": described}


def _load(job: Mapping[str, Any], options: MeasureOptions) -> dict[str, Any]:
    spec = _mapping(job.get("model"), "model")
    seconds = job.get("seconds", 10)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 86400:
        raise RuntimeInputError(f"seconds is {seconds!r}; expected more than 0 and at most a day")
    least = _count(job, "min_inferences", 10)
    with ExitStack() as stack:
        session, described = _open(stack, spec, options)
        call = session.bind(_inputs(session, spec, options))
        environment = describe_environment()
        load, described["first_inference"] = make_load(call, options, float(seconds), least)
    return {"environment": environment, "model": described, "load": load}


def _environment(job: Mapping[str, Any], options: MeasureOptions) -> dict[str, Any]:
    return {"environment": describe_environment()}


def _open(
    stack: ExitStack, spec: Mapping[str, Any], options: MeasureOptions
) -> tuple[Session, dict[str, Any]]:
    _only(spec, _MODEL_KEYS, "a model")
    if ("path" in spec) == ("baseline" in spec):
        raise RuntimeInputError("a model needs either 'path', the model file, or 'baseline', a suffix")
    if "baseline" in spec:
        suffix = baseline_suffix(str(spec["baseline"]))
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"baseline{suffix}"
        path.write_bytes(baseline_model(suffix))
    else:
        path = Path(str(spec["path"]))
    runtime = str(spec.get("runtime") or runtime_of(path))
    load_runtime(runtime)
    start = time.perf_counter()
    session = open_session(
        runtime, path, threads=options.threads, precision=str(spec.get("precision", "float32"))
    )
    loaded = time.perf_counter() - start
    stack.enter_context(session)
    return session, {
        **describe_file(path),
        "session": session.describe(),
        "inputs": [info.to_json() for info in session.inputs],
        "outputs": [info.to_json() for info in session.outputs],
        "load": measured(loaded * 1e3, "ms"),
    }


def _inputs(session: Session, spec: Mapping[str, Any], options: MeasureOptions) -> dict[str, Array]:
    if spec.get("inputs") is not None:
        return load_inputs(str(spec["inputs"]))
    return random_inputs(session.inputs, seed=options.seed)


def _count(job: Mapping[str, Any], name: str, default: int) -> int:
    count = job.get(name, default)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise RuntimeInputError(f"{name} is {count!r}; expected a whole number of at least 1")
    return count


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RuntimeInputError(f"{name} is {value!r:.60}; expected a JSON object")
    return value


def _only(given: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(set(given) - known):
        raise RuntimeInputError(f"{what} has no key {unknown[0]!r}; it has {', '.join(sorted(known))}")
