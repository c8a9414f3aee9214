"""The worker as a process: what is on its standard output, whatever happens; and alone in an archive."""

import json
import os
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

import tdedge_runtimes
from tdedge_runtimes.figures import SCHEMA_VERSION

PACKAGE = Path(tdedge_runtimes.__file__).parent
BRIEF = {"warmup_seconds": 0, "max_seconds": 0, "min_blocks": 2, "resamples": 50}

# The package of every runtime.
MODULES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tflite": "ai_edge_litert"}

# Refuses every import that a device would not have, then becomes the worker.
ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {"torch", "onnx", "onnx_ir", "onnxscript", "scipy", "pydantic", "tdedge",
                   "tdedge_exporters", "tdedge_devices", OTHER}:
            raise ModuleNotFoundError(f"{top} is not on the device", name=top)
sys.meta_path.insert(0, Refuse())
from tdedge_runtimes.worker import main
raise SystemExit(main())
"""


def work(job, command=("-m", "tdedge_runtimes.worker"), **more):
    text = job if isinstance(job, str) else json.dumps({"schema_version": SCHEMA_VERSION, **job})
    return subprocess.run(
        [sys.executable, *command], input=text, capture_output=True, text=True, check=False, **more
    )


def latency(path, **more):
    return {"kind": "latency", "models": {"m": {"path": str(path), **more}}, "options": BRIEF}


def test_one_json_object_and_nothing_else(nets):
    done = work(latency(nets / "small.onnx"))
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    result = json.loads(done.stdout)
    assert result["models"]["m"]["latency"]["count"] == 4
    assert result["environment"]["thread_variables"]["OMP_NUM_THREADS"] == "1"


def test_native_chatter_goes_to_standard_error(nets):
    """Whatever writes to file descriptor 1 while the job runs cannot reach the result."""
    code = (
        "import os, tdedge_runtimes.jobs as jobs, tdedge_runtimes.worker as worker\n"
        "real = jobs.do_job\n"
        "def noisy(job):\n"
        "    os.write(1, b'native chatter\\n'); print('python chatter'); os.system('echo child chatter')\n"
        "    return real(job)\n"
        "jobs.do_job = noisy\n"
        "raise SystemExit(worker.main())\n"
    )
    done = work(latency(nets / "small.onnx"), ("-c", code))
    assert json.loads(done.stdout)["kind"] == "latency"
    for voice in ("native", "python", "child"):
        assert f"{voice} chatter" in done.stderr
        assert "chatter" not in done.stdout


@pytest.mark.parametrize(
    ("job", "code", "line"),
    [
        ("", 2, "the job is not JSON"),
        ("[1]", 2, "the job is a JSON list; expected an object"),
        ("[" * 100_000, 2, "the job is not JSON"),
        ('{"kind": "latency"}', 2, "the job has schema_version None; this worker does 1"),
        ({"kind": "dance"}, 2, "unknown kind of job 'dance'"),
        (latency("absent.onnx"), 2, "no model file at 'absent.onnx'"),
        ({**latency("x.onnx"), "options": {"cpus": [9999]}}, 2, "cannot pin to cores [9999]"),
        ({**latency("x.onnx"), "options": {"threads": "two"}}, 2, "option threads is 'two'"),
    ],
    ids=range(8),
)
def test_errors_are_results(job, code, line):
    done = work(job)
    result = json.loads(done.stdout)
    assert line in result.pop("error")
    assert result == {"schema_version": SCHEMA_VERSION, "kind": "error", "exit_code": code}
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_a_missing_runtime_is_exit_code_three(nets):
    command = ("-c", ALONE.replace("OTHER", "'openvino'"))
    result = json.loads(work(latency(nets / "small.onnx", runtime="openvino"), command).stdout)
    assert result["exit_code"] == 3
    assert "pip install 'tdedge[openvino]'" in result["error"]


def test_a_bug_is_a_result_with_its_traceback_on_standard_error():
    code = (
        "import tdedge_runtimes.jobs as jobs, tdedge_runtimes.worker as worker\n"
        "jobs.do_job = lambda job: 1 / 0\n"
        "raise SystemExit(worker.main())\n"
    )
    done = work({"kind": "latency"}, ("-c", code))
    assert json.loads(done.stdout)["error"] == "unexpected ZeroDivisionError: division by zero"
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_the_worker_is_pinned(nets):
    core = min(os.sched_getaffinity(0))
    done = work({**latency(nets / "small.onnx"), "options": {**BRIEF, "cpus": [core]}})
    assert json.loads(done.stdout)["environment"]["affinity"] == [core]


@pytest.mark.parametrize("runtime", list(MODULES))
@pytest.mark.parametrize("kind", ["latency", "memory"])
def test_numpy_and_one_runtime_are_enough(net_for, runtime, kind):
    others = ", ".join(repr(module) for other, module in MODULES.items() if other != runtime)
    model = {"path": str(net_for(runtime)), "runtime": runtime}
    job = {"kind": kind, "options": BRIEF} | (
        {"models": {"m": model}} if kind == "latency" else {"model": model}
    )
    done = work(job, ("-c", ALONE.replace("OTHER", others)))
    assert json.loads(done.stdout).get("error") is None
    assert done.returncode == 0


def test_an_archive_of_the_package_alone(nets, tmp_path):
    """The zipapp a device is sent: run where the package is not installed, from the archive itself."""
    shutil.copytree(PACKAGE, tmp_path / "app" / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    zipapp.create_archive(
        tmp_path / "app", tmp_path / "worker.pyz", main="tdedge_runtimes.worker:start", compressed=True
    )
    code = (
        "import runpy, sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'onnx', 'torch', 'tdedge', 'tdedge_exporters'}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"sys.path = [p for p in sys.path if p != {str(PACKAGE.parent)!r}]\n"
        f"sys.argv = [{str(tmp_path / 'worker.pyz')!r}]\n"
        "import atexit\n"
        "atexit.register(lambda: print(sys.modules['tdedge_runtimes'].__file__, file=sys.stderr))\n"
        f"runpy.run_path({str(tmp_path / 'worker.pyz')!r}, run_name='__main__')\n"
    )
    done = work(latency(nets / "small.onnx"), ("-c", code), cwd=tmp_path)
    assert json.loads(done.stdout)["models"]["m"]["latency"]["count"] == 4
    assert "worker.pyz" in done.stderr.strip().splitlines()[-1]
    failed = work({"kind": "dance"}, (str(tmp_path / "worker.pyz"),))
    assert (failed.returncode, json.loads(failed.stdout)["exit_code"]) == (2, 2)


def test_a_job_that_ends_with_its_input(nets, tmp_path):
    """The job is the first line; the process ends at once with its input, and its folder goes too."""
    scratch = tmp_path / "scratch"
    command = [sys.executable, "-m", "tdedge_runtimes.worker", "--until-eof", str(scratch)]
    job = {"schema_version": SCHEMA_VERSION, "kind": "load", "model": {"path": str(nets / "small.onnx")}}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(json.dumps({**job, "seconds": 60}).encode() + b"\n")
        process.stdin.flush()
        while not scratch.exists():
            assert process.poll() is None
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(20) == 129
    assert not scratch.exists()


def test_a_job_whose_input_stays_open(nets, tmp_path):
    scratch = tmp_path / "scratch"
    command = [sys.executable, "-m", "tdedge_runtimes.worker", "--until-eof", str(scratch)]
    job = {"schema_version": SCHEMA_VERSION, "kind": "memory", "model": {"baseline": ".onnx"}}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["kind"] == "memory"
        assert process.wait(20) == 0
    assert not scratch.exists()
