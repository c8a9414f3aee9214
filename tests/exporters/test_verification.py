import json

import numpy as np
import pytest
from support.networks import classifier, damage, save_classifier

from tdedge.artifact import FileEntry
from tdedge.errors import UsageError
from tdedge_exporters.export import export
from tdedge_exporters.prepare import Source
from tdedge_exporters.verification import verify_artifact, verify_files

TARGETS = ["onnxruntime", "openvino", "openvino:float16", "tflite", "tflite:float16"]


@pytest.fixture
def artifact(tmp_path):
    return export(save_classifier(tmp_path / "net.onnx"), tmp_path / "out", to=TARGETS).folder


def weight() -> np.ndarray:
    return classifier().graph.node("n_c").inputs[1].const_value.numpy()


def sign_again(folder) -> None:
    """Bring every hash of the manifest up to date with the files."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    entries = [manifest["golden"], manifest["plan"], *(f for t in manifest["targets"] for f in t["files"])]
    for entry in entries:
        entry.update(FileEntry.of(folder, folder / entry["path"]).model_dump())
    path.write_text(json.dumps(manifest))


def test_every_target_replays_the_golden_data(artifact):
    reports = verify_artifact(artifact)
    assert list(reports) == TARGETS
    assert all(report.passed for report in reports.values())
    assert [report.precision for report in reports.values()] == [
        *("float32", "float32", "float16", "float32", "float16")
    ]
    assert reports["onnxruntime"].worst.max_rel < 1e-6
    assert reports["openvino:float16"].worst.max_rel > 1e-6
    assert not verify_artifact(artifact, tolerance=1e-12)["openvino"].passed


@pytest.mark.parametrize("name", ["model.onnx", "model.bin", "model.tflite", "golden.npz", "plan.json"])
def test_changed_file_is_refused(artifact, name):
    content = bytearray((artifact / name).read_bytes())
    content[len(content) // 2] ^= 1
    (artifact / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"'{name}' was changed"):
        verify_artifact(artifact)


@pytest.mark.parametrize(("name", "target"), [("model.onnx", "onnxruntime"), ("model.xml", "openvino")])
def test_wrong_weight_fails_that_target_only(artifact, name, target):
    damage(artifact / name, weight())
    sign_again(artifact)
    passed = {name: report.passed for name, report in verify_artifact(artifact).items()}
    assert passed == {name: name != target for name in TARGETS}


def test_other_golden_data_fails_every_target(artifact):
    with np.load(artifact / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["output.y"] = arrays["output.y"] * 1.05
    np.savez(artifact / "golden.npz", **arrays)
    sign_again(artifact)
    reports = verify_artifact(artifact)
    assert not any(report.passed for report in reports.values())
    assert reports["onnxruntime"].worst.max_rel == pytest.approx(0.05 / 1.05, rel=1e-3)


def test_files_against_their_original(tmp_path, artifact):
    files = [artifact / "model.onnx", artifact / "model.xml"]
    reports = verify_files(Source(tmp_path / "net.onnx"), files)
    assert {path: report.passed for path, report in reports.items()} == {str(f): True for f in files}
    other = save_classifier(tmp_path / "other.onnx", seed=1)
    reports = verify_files(Source(tmp_path / "net.onnx"), [other, files[0]])
    assert [report.passed for report in reports.values()] == [False, True]


def test_files_are_compared_on_the_given_inputs(tmp_path):
    source = save_classifier(tmp_path / "net.onnx")
    other = save_classifier(tmp_path / "other.onnx", seed=1)
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    (one,) = verify_files(Source(source), [other], inputs=tmp_path / "in.npz").values()
    (two,) = verify_files(Source(source), [other], seed=1).values()
    (three,) = verify_files(Source(source), [other], seed=2).values()
    assert len({report.worst.max_abs for report in (one, two, three)}) == 3


def test_missing_file_is_named(tmp_path):
    source = save_classifier(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=r"gone\.onnx does not exist"):
        verify_files(Source(source), [tmp_path / "gone.onnx"])
