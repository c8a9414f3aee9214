"""What a device is: a new environment with numpy and one runtime, the worker as one file, an artifact.

Slow, because the environment is really made and installed; ``make test-devices`` runs it.
"""

import json
import subprocess
import sys
import zipapp
from pathlib import Path

import numpy as np
import pytest
from support.networks import save_classifier

from tdedge.artifact import read_manifest
from tdedge_exporters.export import export
from tdedge_exporters.verify import check_outputs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """The interpreter of an environment that holds numpy and ONNX Runtime, at the tested versions."""
    folder = tmp_path_factory.mktemp("device")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", "numpy", "onnxruntime"]
    subprocess.run([python, *install], check=True)
    return python


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """The worker, one file."""
    path = tmp_path_factory.mktemp("worker") / "worker.pyz"
    zipapp.create_archive(
        ROOT / "runtimes",
        path,
        main="tdedge_runtimes.worker:start",
        filter=lambda name: name.suffix != ".pyc",
        compressed=True,
    )
    return path


def work(python, worker, job, cwd) -> dict:
    done = subprocess.run(
        [python, worker], input=json.dumps(job), cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_golden_outputs_come_out_of_the_bare_environment(tmp_path, bare_python, worker):
    export(save_classifier(tmp_path / "net.onnx"), tmp_path / "out", to="onnxruntime")
    manifest = read_manifest(tmp_path / "out")
    with np.load(tmp_path / "out" / manifest.golden.path) as golden:
        expected = {k.removeprefix("output."): golden[k] for k in golden if k.startswith("output.")}
        np.savez(tmp_path / "in.npz", **{k[6:]: golden[k] for k in golden if k.startswith("input.")})
    job = {
        "schema_version": 1,
        "kind": "run",
        "model": {"path": "out/model.onnx", "runtime": "onnxruntime"},
        "inputs": "in.npz",
        "outputs": "out.npz",
    }
    result = work(bare_python, worker, job, tmp_path)
    assert result["environment"]["versions"]["openvino"] is None
    with np.load(tmp_path / "out.npz") as outputs:
        report = check_outputs([expected], [dict(outputs)], precision="float32")
    assert report.passed, report.summary()


def test_latency_is_measured_there(tmp_path, bare_python, worker):
    path = save_classifier(tmp_path / "net.onnx")
    job = {
        "schema_version": 1,
        "kind": "latency",
        "models": {"net": {"path": str(path)}},
        "options": {"max_seconds": 0, "min_blocks": 3, "per_block": 2, "warmup_seconds": 0},
    }
    result = work(bare_python, worker, job, tmp_path)
    assert result["models"]["net"]["latency"]["count"] == 6
