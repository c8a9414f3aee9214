"""What an older device is: a new environment with numpy 1.26 and tflite-runtime 2.14.

Slow, because the environment is really made and installed; files that must run on such devices are handed to
``run_in_old_runtime``, which runs them there.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tdedge_runtimes.client import run_job

PACKAGES = ("tflite-runtime==2.14.0", "numpy==1.26.4")


@pytest.fixture(scope="session")
def old_python(tmp_path_factory):
    """The interpreter of an environment with the older runtime, whose wheels end with Python 3.11."""
    base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    assert base, "tflite-runtime 2.14 has wheels up to Python 3.11; put python3.11 on the PATH"
    folder = tmp_path_factory.mktemp("old-device")
    subprocess.run([base, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return str(python)


@pytest.fixture(scope="session")
def run_in_old_runtime(old_python):
    """A call: the outputs of a .tflite file for these inputs, both by name, from the older runtime."""

    def run(path, feeds) -> dict[str, np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            given, taken = Path(folder) / "feeds.npz", Path(folder) / "outputs.npz"
            np.savez(given, **feeds)
            model = {"path": str(path), "runtime": "tflite"}
            job = {"kind": "run", "model": model, "inputs": str(given), "outputs": str(taken)}
            session = run_job(job, python=old_python)["model"]["session"]
            assert (session["package"], session["version"]) == ("tflite-runtime", "2.14.0")
            with np.load(taken) as outputs:
                return dict(outputs)

    return run
