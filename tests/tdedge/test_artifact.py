import json
import os
from pathlib import Path

import jsonschema
import pytest

from tdedge import artifact
from tdedge.errors import UsageError


def make_artifact(folder: Path) -> artifact.Manifest:
    for name in ("golden.npz", "plan.json", "model.onnx"):
        (folder / name).write_bytes(name.encode())
    entry = {name: artifact.FileEntry.of(folder, folder / name) for name in os.listdir(folder)}
    manifest = artifact.Manifest(
        tdedge_version="0",
        name="net",
        source_kind="onnx",
        versions={},
        inputs=[artifact.TensorEntry(name="x", shape=[1, 3, 8, 8], dtype="float32", layout="NCHW")],
        outputs=[artifact.TensorEntry(name="y", shape=[1, 4], dtype="float32", layout="NC")],
        golden=entry["golden.npz"],
        plan=entry["plan.json"],
        targets=[
            artifact.TargetEntry(
                target="onnxruntime",
                runtime="onnxruntime",
                runtime_version="1",
                precision="float32",
                entry="model.onnx",
                files=[entry["model.onnx"]],
                parity={},
            )
        ],
        cost={},
        compression_error=None,
        warnings=[],
    )
    artifact.write_manifest(folder, manifest)
    return manifest


def test_manifest_round_trips_and_follows_its_schema(tmp_path):
    manifest = make_artifact(tmp_path)
    assert artifact.read_manifest(tmp_path) == manifest
    document = json.loads((tmp_path / "manifest.json").read_text())
    validator = jsonschema.Draft202012Validator(artifact.schema())
    validator.validate(document)
    document["targets"][0]["precision"] = "float8"
    assert not validator.is_valid(document)


def test_published_schema_is_the_one_the_code_has():
    published = Path(__file__).parents[2] / "docs" / "manifest.schema.json"
    assert json.loads(published.read_text()) == artifact.schema()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.onnx").write_bytes(b"other"), "was changed"),
        (lambda f: (f / "model.onnx").unlink(), "is missing"),
        (lambda f: (f / "manifest.json").unlink(), "is no tdedge artifact"),
        (lambda f: (f / "manifest.json").write_text("{"), "document"),
    ],
)
def test_damage_is_one_clear_line(tmp_path, damage, message):
    make_artifact(tmp_path)
    damage(tmp_path)
    with pytest.raises(UsageError, match=message) as raised:
        artifact.read_manifest(tmp_path)
    assert "\n" not in raised.value.message


def test_file_outside_the_artifact_is_refused(tmp_path):
    inside = tmp_path / "net"
    inside.mkdir()
    make_artifact(inside)
    text = (inside / "manifest.json").read_text().replace('"path": "model.onnx"', '"path": "../model.onnx"')
    (inside / "manifest.json").write_text(text)
    (tmp_path / "model.onnx").write_bytes(b"model.onnx")
    with pytest.raises(UsageError, match="outside the artifact"):
        artifact.read_manifest(inside)


def test_folder_appears_whole_or_not_at_all(tmp_path):
    final = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), artifact.atomic_folder(final) as scratch:
        (scratch / "half").write_text("x")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    with artifact.atomic_folder(final) as scratch:
        make_artifact(scratch)
    assert os.listdir(tmp_path) == ["out"]


def test_parent_folders_appear_with_the_artifact(tmp_path):
    final = tmp_path / "a" / "b" / "out"
    with pytest.raises(ValueError), artifact.atomic_folder(final):
        raise ValueError
    assert os.listdir(tmp_path) == []
    with artifact.atomic_folder(final) as scratch:
        make_artifact(scratch)
    with artifact.atomic_file(tmp_path / "c" / "d.json") as part:
        part.write_text("{}")
    assert sorted(os.listdir(tmp_path)) == ["a", "c"]
    artifact.read_manifest(final)


def test_nothing_is_replaced_without_force_and_nothing_foreign_with_it(tmp_path):
    final = tmp_path / "out"
    final.mkdir()
    make_artifact(final)
    with pytest.raises(UsageError, match="--force"), artifact.atomic_folder(final):
        pass
    with artifact.atomic_folder(final, force=True) as scratch:
        (scratch / "new").write_text("x")
    assert os.listdir(final) == ["new"]
    assert os.listdir(tmp_path) == ["out"]
    with pytest.raises(UsageError, match="no tdedge artifact"), artifact.atomic_folder(final, force=True):
        pass
    assert os.listdir(final) == ["new"]


def test_failed_replacement_keeps_the_old_artifact(tmp_path):
    final = tmp_path / "out"
    final.mkdir()
    make_artifact(final)
    with pytest.raises(ValueError), artifact.atomic_folder(final, force=True):
        raise ValueError
    artifact.read_manifest(final)
    assert os.listdir(tmp_path) == ["out"]


def test_file_appears_whole_or_not_at_all(tmp_path):
    final = tmp_path / "net.onnx"
    with pytest.raises(ValueError), artifact.atomic_file(final) as part:
        part.write_text("half")
        raise ValueError
    assert os.listdir(tmp_path) == []
    with artifact.atomic_file(final) as part:
        part.write_text("whole")
    assert final.read_text() == "whole"
    with pytest.raises(UsageError, match="--force"), artifact.atomic_file(final):
        pass


@pytest.mark.parametrize("parent", ["/proc/tdedge", "file"])
def test_unwritable_place_is_one_line(tmp_path, parent):
    (tmp_path / "file").write_text("x")
    final = tmp_path / parent / "out"
    with pytest.raises(UsageError, match="cannot write") as raised, artifact.atomic_folder(final):
        pass
    assert "\n" not in raised.value.message
