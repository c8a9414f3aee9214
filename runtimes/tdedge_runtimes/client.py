"""Measures models in fresh processes: the worker is started, handed a job, and its result is read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, TypedDict

from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, RuntimeMissing, RuntimesError
from tdedge_runtimes.figures import SCHEMA_VERSION, Figure
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.memory import baseline_suffix, own_memory
from tdedge_runtimes.session import runtime_of

# Loads exactly this copy of the package in the child, whatever else is installed there.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); import tdedge_runtimes; sys.path.pop(0); "
    "from tdedge_runtimes.worker import start; start()"
)
_INTERRUPTED = 130


#: Does one job of the worker, here or on a device, and returns its result.
Do = Callable[[Mapping[str, Any]], dict[str, Any]]


class BenchResult(TypedDict):
    """What ``measure_models`` returns; JSON values throughout, described by ``result.schema.json``."""

    schema_version: int
    kind: str
    created: str
    options: dict[str, Any]
    environment: dict[str, Any]
    models: dict[str, dict[str, Any]]
    ratios: dict[str, dict[str, Any]]
    orders: list[list[str]]
    foreign_cpu: Figure
    quiet: bool
    window: Figure


def result_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of every result of this package."""
    text = resources.files("tdedge_runtimes").joinpath("result.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def run_job(
    job: Mapping[str, Any], *, python: str = sys.executable, timeout_s: float | None = 600.0
) -> dict[str, Any]:
    """Do one job of the worker in a fresh process.

    The child is killed when the time is over, and on Ctrl-C.

    Args:
        job: The job, see ``tdedge_runtimes.jobs``; ``schema_version`` is added.
        python: Interpreter; it needs NumPy and the runtime, not this package.
        timeout_s: Seconds after which the child is killed; ``None`` waits for ever.

    Raises:
        RuntimeMissing: The runtime is not installed there.
        RuntimeInputError: The job is wrong.
        RuntimeFailed: The process died, took too long, or the runtime failed.
    """
    root = str(Path(__file__).parent.parent)
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter is the caller's choice, the code is ours
            [python, "-P", "-c", _BOOT, root],
            input=json.dumps({"schema_version": SCHEMA_VERSION, **job}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeFailed(f"the worker took longer than {timeout_s:g} s and was stopped") from None
    except OSError as error:
        raise RuntimeInputError(f"cannot start {python!r}: {error.strerror}") from None
    return read_result(done.returncode, done.stdout, done.stderr)


def read_result(code: int, stdout: str, stderr: str) -> dict[str, Any]:
    """The result of a worker that ended, wherever it ran.

    Args:
        code: Its exit code; minus the number of the signal that ended it.
        stdout: What it wrote: one JSON object, if anything.
        stderr: What it and its runtime said; the last line explains a death.

    Raises:
        RuntimeMissing: The runtime is not installed there.
        RuntimeInputError: The job is wrong.
        RuntimeFailed: The process died without a result, or the runtime failed.
    """
    try:
        result = json.loads(stdout)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise RuntimeFailed(_death(code, stderr))
    if "error" in result:
        raise _as_exception(str(result["error"]), int(result.get("exit_code", 1)))
    return result


def measure_models(
    models: Mapping[str, str | Path | Mapping[str, Any]],
    options: MeasureOptions | None = None,
    *,
    memory: bool = True,
    python: str = sys.executable,
    timeout_s: float | None = 600.0,
    do: Do | None = None,
) -> BenchResult:
    """Latency of all models interleaved in one process, and the memory of each in a process of its own.

    Args:
        models: Label -> model file, or a mapping with ``path`` and optionally ``runtime``, ``precision`` and
            ``inputs`` (an .npz). The first is the reference of the speed-ups.
        options: How to measure.
        memory: Whether to measure memory: one process per model and one per baseline.
        python: Interpreter of the child processes.
        timeout_s: Seconds each child may take.
        do: What does the jobs, such as a device; by default child processes here.

    Raises:
        RuntimesError: As ``run_job``.
    """
    if do is None:

        def do(job: Mapping[str, Any]) -> dict[str, Any]:
            return run_job(job, python=python, timeout_s=timeout_s)

    chosen = (options or MeasureOptions()).to_json()
    specs = {label: model_spec(model) for label, model in models.items()}
    result = do({"kind": "latency", "models": specs, "options": chosen})
    result["kind"] = "bench"
    result["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    if memory:
        for label, figures in measure_memory(specs, chosen, do).items():
            result["models"][label]["memory"] = figures
    bench_result: BenchResult = result  # type: ignore[assignment]
    return bench_result


def measure_memory(
    specs: Mapping[str, Mapping[str, str]], options: Mapping[str, Any], do: Do
) -> dict[str, dict[str, Any]]:
    """Memory of every model, each less that of its baseline: one fresh process per model and per baseline.

    Args:
        specs: Label -> model, as ``model_spec`` gives it.
        options: Those of ``MeasureOptions``, as JSON values.
        do: What does the jobs.

    Raises:
        RuntimesError: As ``run_job``.
    """

    def figures_of(model: Mapping[str, str]) -> dict[str, Figure]:
        figures: dict[str, Figure] = do({"kind": "memory", "model": model, "options": options})["model"][
            "memory"
        ]
        return figures

    baselines: dict[tuple[tuple[str, str], ...], dict[str, Figure]] = {}
    memory = {}
    for label, spec in specs.items():
        baseline = {key: value for key, value in spec.items() if key in ("runtime", "precision")}
        baseline["baseline"] = baseline_suffix(Path(spec["path"]).suffix)
        key = tuple(sorted(baseline.items()))
        if key not in baselines:
            baselines[key] = figures_of(baseline)
        memory[label] = own_memory(figures_of(spec), baselines[key])
    return memory


def bench(
    *models: str | Path,
    runtime: str | None = None,
    threads: int = 1,
    memory: bool = True,
    options: MeasureOptions | None = None,
) -> BenchResult:
    """Compare model files side by side: ``bench("dense.onnx", "factored.onnx")``.

    The first file is the reference; labels are the file names (numbered where two are the same).

    Args:
        models: The model files.
        runtime: Runtime for all of them; by default the one that reads each file's suffix.
        threads: Threads of one inference; ignored where ``options`` is given.
        memory: Whether to measure memory too.
        options: How to measure.

    Raises:
        RuntimesError: As ``run_job``.
    """
    labelled: dict[str, dict[str, Any]] = {}
    for model in models:
        path = Path(model)
        label, number = path.name, 2
        while label in labelled:
            label, number = f"{path.name} ({number})", number + 1
        labelled[label] = {"path": str(path)} | ({"runtime": runtime} if runtime else {})
    return measure_models(labelled, options or MeasureOptions(threads=threads), memory=memory)


def profile_model(
    path: str | Path,
    *,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int = 1,
    runs: int = 20,
    inputs: str | Path | None = None,
    python: str = sys.executable,
    timeout_s: float | None = 600.0,
) -> dict[str, Any]:
    """Time of every operator of a model file, measured in a fresh process.

    Args:
        path: The file.
        runtime: By default the one that reads the file's suffix.
        precision: Of the execution, where the runtime has a choice.
        threads: Threads of one inference.
        runs: Profiled runs.
        inputs: An .npz file; by default seeded inputs.
        python: Interpreter of the child process.
        timeout_s: Seconds it may take.

    Returns:
        The result: ``["model"]["profile"]["ops"]`` are the operators in the order of execution, each with the
        attributes of ``tdedge_runtimes.operator_times.OpTime``.

    Raises:
        RuntimeMissing: The runtime is not installed, or in a version that cannot be profiled.
        RuntimesError: As ``run_job``.
    """
    model = model_spec({"path": path, "runtime": runtime, "precision": precision, "inputs": inputs})
    job = {"kind": "profile", "model": model, "options": {"threads": threads}, "runs": runs}
    return run_job(job, python=python, timeout_s=timeout_s)


def model_spec(model: str | Path | Mapping[str, Any]) -> dict[str, str]:
    """A model as jobs name it: ``path``, ``runtime``, and ``precision`` and ``inputs`` where given.

    Raises:
        RuntimeInputError: There is no path, or no runtime reads such a file.
    """
    spec = dict(model) if isinstance(model, Mapping) else {"path": model}
    if "path" not in spec:
        raise RuntimeInputError("a model needs 'path', the model file")
    spec = {key: str(value) for key, value in spec.items() if value is not None}
    spec.setdefault("runtime", runtime_of(spec["path"]))
    return spec


def _as_exception(line: str, exit_code: int) -> RuntimesError:
    if exit_code == _INTERRUPTED:
        raise KeyboardInterrupt
    if exit_code == RuntimeMissing.exit_code:
        return RuntimeMissing(line)
    return RuntimeInputError(line) if exit_code == RuntimeInputError.exit_code else RuntimeFailed(line)


def _death(code: int, stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = f": {lines[-1]}" if lines else ""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = "; it may have run out of memory" if name == "SIGKILL" else ""
        return f"the worker was ended by {name}{hint}{last}"
    return f"the worker ended with code {code} and without a result{last}"
