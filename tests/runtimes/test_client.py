"""Jobs in fresh processes: results, failures, and no child left behind."""

import json
import os
import signal
import subprocess
import sys
import time

import jsonschema
import pytest

from tdedge_runtimes import client
from tdedge_runtimes.client import bench, measure_models, result_schema, run_job
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, RuntimeMissing
from tdedge_runtimes.measure import MeasureOptions

BRIEF = MeasureOptions(warmup_seconds=0.0, max_seconds=0.0, min_blocks=3, resamples=50)


@pytest.fixture
def fake_python(tmp_path):
    """An interpreter that ignores the job and runs the given shell lines instead."""

    def write(lines):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_bench_of_three_runtimes(nets):
    result = measure_models(
        {
            "ort": nets / "small.onnx",
            "ov": {"path": nets / "small.onnx", "runtime": "openvino"},
            "ov large": {"path": str(nets / "large.onnx"), "runtime": "openvino"},
            "lite": nets / "small.tflite",
        },
        BRIEF,
    )
    jsonschema.Draft202012Validator(result_schema()).validate(result)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["schema_version"], result["kind"]) == (1, "bench")
    assert list(result["models"]) == ["ort", "ov", "ov large", "lite"]
    assert list(result["ratios"]) == ["ov", "ov large", "lite"]
    assert len(result["orders"]) == 3
    for entry in result["models"].values():
        memory = entry["memory"]
        peak, own = memory["peak_rss_bytes"]["value"], memory["own_peak_rss_bytes"]["value"]
        assert peak > 10 * 2**20
        assert own < peak / 2
        heap, own = memory["heap_bytes"]["value"], memory["own_heap_bytes"]["value"]
        assert abs(own) < heap < peak
    assert str(nets) not in json.dumps(result)


def test_bench_labels_files_by_name(nets):
    result = bench(nets / "small.onnx", str(nets / "small.onnx"), options=BRIEF, memory=False)
    assert list(result["models"]) == ["small.onnx", "small.onnx (2)"]
    assert "memory" not in result["models"]["small.onnx"]
    jsonschema.Draft202012Validator(result_schema()).validate(result)


def test_bench_takes_threads_and_runtime(nets, monkeypatch):
    seen = {}

    def fake(models, options, *, memory):
        seen.update(models=models, options=options, memory=memory)
        return {}

    monkeypatch.setattr(client, "measure_models", fake)
    bench("a.onnx", runtime="openvino", threads=2, memory=False)
    assert seen == {
        "models": {"a.onnx": {"path": "a.onnx", "runtime": "openvino"}},
        "options": MeasureOptions(threads=2),
        "memory": False,
    }


def test_one_baseline_per_runtime_and_kind_of_file(nets, monkeypatch):
    jobs = []
    real = client.run_job

    def spy(job, **more):
        jobs.append(job)
        return real(job, **more)

    monkeypatch.setattr(client, "run_job", spy)
    measure_models({"a": nets / "small.onnx", "b": nets / "large.onnx"}, BRIEF)
    assert [job["kind"] for job in jobs] == ["latency", "memory", "memory", "memory"]
    assert [job["model"].get("baseline") for job in jobs[1:]] == [".onnx", None, None]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("quiet",), "yes"),
        (("foreign_cpu",), {"value": None, "unit": "share of all cores"}),
        (("foreign_cpu",), {"value": 0.1, "unit": "share of all cores", "kind": "guessed"}),
        (("models",), {}),
        (("models", "m", "extra"), 1),
        (("models", "m", "load", "unit"), "s"),
        (("models", "m", "sha256"), "abc"),
        (("models", "m", "latency", "kind"), "predicted"),
        (("models", "m", "latency", "median_ms"), 0),
    ],
)
def test_the_schema_refuses_what_is_wrong(nets, path, value):
    models = {"m": {"path": str(nets / "small.onnx")}}
    result = run_job({"kind": "latency", "models": models, "options": BRIEF.to_json()})
    validator = jsonschema.Draft202012Validator(result_schema())
    validator.validate(result)
    target = result
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(result)


@pytest.mark.parametrize("other", [{}, {"kind": "bench"}, {"schema_version": 1, "kind": "error"}, [], None])
def test_the_schema_refuses_other_documents(other):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(result_schema()).validate(other)


def test_errors_cross_the_process(nets):
    with pytest.raises(RuntimeInputError, match=r"no model file at 'absent\.onnx'"):
        run_job({"kind": "memory", "model": {"path": "absent.onnx"}})
    with pytest.raises(RuntimeInputError, match="a model needs 'path'"):
        measure_models({"a": {"runtime": "onnxruntime"}})


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1, RuntimeFailed), (2, RuntimeInputError), (3, RuntimeMissing), (130, KeyboardInterrupt)],
)
def test_exit_codes_become_exceptions(fake_python, code, kind):
    answer = json.dumps({"schema_version": 1, "kind": "error", "error": "the line", "exit_code": code})
    with pytest.raises(kind) as raised:
        run_job({"kind": "run"}, python=fake_python(f"echo '{answer}'; exit {code}"))
    assert str(raised.value) in ("the line", "")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("echo boom >&2; kill -SEGV $$", "ended by SIGSEGV: boom"),
        ("kill -KILL $$", "ended by SIGKILL; it may have run out of memory"),
        ("echo not json; exit 7", "ended with code 7 and without a result"),
        ("echo '[]'", "ended with code 0 and without a result"),
    ],
)
def test_a_dead_worker_is_told_apart(fake_python, lines, message):
    with pytest.raises(RuntimeFailed, match=message):
        run_job({"kind": "run"}, python=fake_python(lines))


def test_no_such_interpreter(tmp_path):
    with pytest.raises(RuntimeInputError, match="cannot start"):
        run_job({"kind": "run"}, python=str(tmp_path / "absent"))


def gone(pid, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_time_over_ends_the_child(fake_python, tmp_path):
    python = fake_python(f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with pytest.raises(RuntimeFailed, match=r"took longer than 0\.5 s"):
        run_job({"kind": "run"}, python=python, timeout_s=0.5)
    assert gone(int((tmp_path / "pid").read_text()))


def test_an_interrupt_ends_the_child(fake_python, tmp_path):
    python = fake_python(f"echo $$ > {tmp_path}/pid; exec sleep 60")
    code = f"from tdedge_runtimes.client import run_job; run_job({{'kind': 'run'}}, python={python!r})"
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    end = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < end
        time.sleep(0.02)
    parent.send_signal(signal.SIGINT)
    _, stderr = parent.communicate(timeout=20)
    assert b"KeyboardInterrupt" in stderr
    assert gone(int((tmp_path / "pid").read_text()))


def test_the_child_runs_this_copy_of_the_package(nets, tmp_path, monkeypatch):
    """Another package of the same name earlier on the child's path is not taken."""
    (tmp_path / "tdedge_runtimes").mkdir()
    (tmp_path / "tdedge_runtimes" / "__init__.py").write_text("raise SystemExit('the wrong copy')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = run_job({"kind": "memory", "model": {"path": str(nets / "small.onnx")}})
    assert result["model"]["file"] == "small.onnx"
