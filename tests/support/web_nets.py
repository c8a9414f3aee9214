"""Small networks for the tests of browsers: exported by the command, with golden data, and run natively."""

import tempfile
from pathlib import Path

import numpy as np
from support.networks import save_classifier

from tdedge.cli.main import run
from tdedge_runtimes.client import run_job

ENDINGS = {"onnxruntime": "onnx", "tflite": "tflite"}


def export_both(folder: Path) -> dict[str, Path]:
    """Label -> artifact: a dense network, and the same in Tucker's form."""
    source = save_classifier(folder / "net.onnx")
    common = ["--effort", "none", "--to", "onnxruntime,tflite", "--quiet"]
    assert run(["export", str(source), "-o", str(folder / "dense"), *common]) == 0
    small = ["--format", "tucker", "--rank-ratio", "0.5", "-o", str(folder / "small")]
    assert run(["export", str(source), *small, *common]) == 0
    return {label: folder / label for label in ("dense", "small")}


def model_of(artifact: Path, runtime: str) -> Path:
    """The file of one runtime in an artifact."""
    (path,) = artifact.glob(f"*.{ENDINGS[runtime]}")
    return path


def outputs(do, path: Path, feeds) -> dict[str, np.ndarray]:
    """What a model gives for these inputs where ``do`` does jobs."""
    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(given, **feeds)
        job = {"kind": "run", "model": {"path": str(path)}, "inputs": str(given), "outputs": str(taken)}
        do(job)
        with np.load(taken) as arrays:
            return dict(arrays)


def golden_inputs(artifact: Path) -> dict[str, np.ndarray]:
    """The inputs of an artifact's golden data."""
    with np.load(artifact / "golden.npz") as arrays:
        return {n.removeprefix("input."): arrays[n] for n in arrays.files if n.startswith("input.")}


def assert_parity(device, artifact: Path, runtime: str) -> None:
    """The browser's outputs are the native runtime's, within what float32 kernels differ by."""
    path, feeds = model_of(artifact, runtime), golden_inputs(artifact)
    there, here = outputs(device.do, path, feeds), outputs(run_job, path, feeds)
    assert list(there) == list(here)
    for name, expected in here.items():
        assert there[name].dtype == expected.dtype
        np.testing.assert_allclose(there[name], expected, rtol=0, atol=2e-6 * np.abs(expected).max())
        assert np.abs(expected).max() > 0.1
