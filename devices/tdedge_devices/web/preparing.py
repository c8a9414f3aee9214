"""From a job of the worker to what a page is handed: the models' files, and the values of their inputs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tdedge.errors import UsageError
from tdedge_devices.web import assets
from tdedge_devices.web.exchange import Job
from tdedge_devices.web.posts import pack
from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.memory import baseline_model, baseline_suffix
from tdedge_runtimes.session import TensorInfo, check_inputs, load_inputs, random_inputs, runtime_of

#: Files are run as they are.
_PRECISIONS = ("float32", "int8", "int8-weights")
_ENGINES = ("onnxruntime", "tflite")


def prepare(job: Mapping[str, Any], options: MeasureOptions, *, gpu: str, scratch: Path) -> Job:
    """The job as the page is told it.

    Args:
        job: a latency, load, run or memory job with paths of this machine.
        options: its options.
        gpu: empty for WebAssembly.
        scratch: a folder for files that the job does not have; it must last as long as the job.

    Raises:
        RuntimesError: the job is wrong.
        UsageError: no browser can do it.
    """
    kind = str(job["kind"])
    specs = _specs(job, kind)
    files = {label: _file(spec, scratch) for label, spec in specs.items()}
    name = secrets.token_urlsafe(8)
    models, given = [], {}
    for place, (label, path) in enumerate(files.items()):
        models.append(
            {
                "label": label,
                "runtime": _runtime(specs[label], path),
                "file": f"file/{name}/{place}",
                "bytes": path.stat().st_size,
            }
        )
        given[label] = job["inputs"] if kind == "run" else specs[label].get("inputs")
    document = {
        "id": name,
        "kind": kind,
        "gpu": gpu,
        "options": options.to_json(),
        "models": models,
        "versions": assets.VERSIONS,
    }
    if kind == "load":
        document["load"] = _how_long(job)
    return Job(document=document, models=files, inputs=_inputs(given, options))


def _how_long(job: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {
        "seconds": job.get("seconds", 10),
        "min_inferences": job.get("min_inferences", 10),
    }
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86400 * 1000:
            raise RuntimeInputError(f"{name} is {value!r}; expected a number of more than 0")
    return found


def _specs(job: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    """Label -> what the job says of a model; for all kinds but latency the one label is "model"."""
    given = job.get("models") if kind == "latency" else {"model": job.get("model")}
    named = "models" if kind == "latency" else "model"
    if not isinstance(given, Mapping) or not given:
        raise RuntimeInputError(f"a {kind} job needs {named!r}")
    if kind == "run" and not all(isinstance(job.get(key), str) for key in ("inputs", "outputs")):
        raise RuntimeInputError("a run job needs 'inputs' and 'outputs', the paths of .npz files")
    specs: dict[str, Mapping[str, Any]] = {}
    for label, spec in given.items():
        if not isinstance(spec, Mapping) or ("path" in spec) == ("baseline" in spec):
            raise RuntimeInputError("a model needs either 'path', the model file, or 'baseline', a suffix")
        specs[str(label)] = spec
    return specs


def _file(spec: Mapping[str, Any], scratch: Path) -> Path:
    if "baseline" in spec:
        suffix = baseline_suffix(str(spec["baseline"]))
        path = scratch / f"baseline{suffix}"
        path.write_bytes(baseline_model(suffix))
        return path
    path = Path(str(spec["path"]))
    if not path.is_file():
        raise RuntimeInputError(f"no model file at {str(path)!r}")
    return path


def _runtime(spec: Mapping[str, Any], path: Path) -> str:
    runtime = str(spec.get("runtime") or runtime_of(path))
    if runtime not in _ENGINES:
        raise UsageError(f"no browser runs {runtime}; expected a model for {' or '.join(_ENGINES)}")
    if (precision := spec.get("precision", "float32")) not in _PRECISIONS:
        raise UsageError(f"precision {precision!r} is not for browsers; expected float32, or an int8 file")
    return runtime


def _inputs(
    given: Mapping[str, str | None], options: MeasureOptions
) -> Callable[[str, list[dict[str, Any]]], bytes]:
    """The values of a model's inputs, as the worker would make them: from a file, or seeded."""

    def values(label: str, described: list[dict[str, Any]]) -> bytes:
        if label not in given:
            raise RuntimeInputError(f"there is no model {label!r} in this job")
        expected = tuple(TensorInfo(t["name"], tuple(t["shape"]), t["dtype"]) for t in described)
        path = given[label]
        arrays = load_inputs(path) if path is not None else random_inputs(expected, seed=options.seed)
        return pack(check_inputs(expected, arrays))

    return values
