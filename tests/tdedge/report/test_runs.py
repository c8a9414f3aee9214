import json
import os

import pytest
from support.networks import MACS, save_classifier

from tdedge.errors import UsageError
from tdedge.report import runs
from tdedge_exporters.export import export
from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.measure import MeasureOptions

FAST = MeasureOptions(min_blocks=2, max_blocks=2, warmup_seconds=0.0, max_seconds=0.0, resamples=20)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Artifacts both (two targets), half (openvino:float16, onnxruntime), ov; files net.onnx, other.onnx."""
    folder = tmp_path_factory.mktemp("models")
    net = save_classifier(folder / "net.onnx")
    save_classifier(folder / "other.onnx", seed=1)
    export(net, folder / "both", to="onnxruntime,openvino")
    export(net, folder / "half", to="openvino:float16,onnxruntime")
    export(net, folder / "ov", to="openvino")
    return folder


def test_one_run_per_shared_target(models):
    planned = runs.plan_runs([models / "both", models / "half"])
    assert {target: list(models) for target, models in planned.items()} == {"onnxruntime": ["both", "half"]}
    model = planned["onnxruntime"]["half"]
    assert model["path"] == str(models / "half" / "model.onnx")
    assert model["cost"]["macs"] == MACS
    assert 0 <= model["parity"] < 1e-5
    assert list(runs.plan_runs([models / "both", models / "both" / ".." / "ov"])) == ["openvino"]


def test_target_can_be_chosen(models):
    (models / "copy").mkdir(exist_ok=True)
    for name in os.listdir(models / "both"):
        (models / "copy" / name).write_bytes((models / "both" / name).read_bytes())
    pair = [models / "both", models / "copy"]
    assert list(runs.plan_runs(pair)) == ["onnxruntime", "openvino"]
    assert list(runs.plan_runs(pair, "openvino")) == ["openvino"]
    with pytest.raises(UsageError, match="share no target"):
        runs.plan_runs(pair, "openvino:float16")


def test_no_shared_target_names_what_each_has(models):
    with pytest.raises(UsageError, match=r"half: openvino:float16, onnxruntime; ov: openvino\)"):
        runs.plan_runs([models / "half", models / "ov"])


def test_same_model_twice(models):
    with pytest.raises(UsageError, match="given twice"):
        runs.plan_runs([models / "both", models / ".." / models.name / "both"])


def test_files_are_one_run_with_costs_where_known(models):
    planned = runs.plan_runs([models / "net.onnx", models / "both" / "model.xml"])
    assert list(planned) == ["model files"]
    net, other = planned["model files"].values()
    assert (net["runtime"], net["cost"]["macs"]) == ("onnxruntime", MACS)
    assert (other["runtime"], other["cost"]) == ("openvino", None)
    forced = runs.plan_runs([models / "net.onnx", models / "other.onnx"], "openvino")
    assert {model["runtime"] for model in forced["openvino"].values()} == {"openvino"}


def test_artifact_beside_a_file(models):
    planned = runs.plan_runs([models / "both", models / "net.onnx"])
    assert list(planned) == ["onnxruntime"]
    assert list(planned["onnxruntime"]) == ["both", "net.onnx"]


def test_labels_tell_equal_names_apart(models):
    planned = runs.plan_runs([models / "both" / "model.onnx", models / "half" / "model.onnx"])
    assert list(planned["model files"]) == ["both/model.onnx", "half/model.onnx"]


def test_what_is_no_model(models, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        runs.plan_runs([models / "net.onnx", models / "gone.onnx"])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(RuntimeInputError, match=r"notes\.txt"):
        runs.plan_runs([models / "net.onnx", tmp_path / "notes.txt"])
    with pytest.raises(UsageError, match="is no tdedge artifact"):
        runs.plan_runs([models / "both", tmp_path])


def test_measured_run_keeps_precision_costs_and_parity(models, tmp_path):
    export(models / "net.onnx", tmp_path / "one", to="openvino:float16")
    planned = runs.plan_runs([models / "half", tmp_path / "one"])
    (run,) = runs.compare(planned, FAST, memory=False)
    assert run.target == "openvino:float16"
    assert [row.label for row in run.rows()] == ["half", "one"]
    assert run.rows()[1].mac_ratio == 1.0
    assert 1e-6 < run.rows()[1].parity < 2e-2
    assert run.result["models"]["one"]["file"] == "model-float16.xml"
    assert len(run.samples_ms("one")) == 4


def test_documents_are_written_whole(tmp_path):
    runs.write_json(tmp_path / "a.json", {"a": 1}, force=False)
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    with pytest.raises(TypeError):
        runs.write_json(tmp_path / "a.json", {"a": object()}, force=True)
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    runs.write_page(tmp_path / "a.html", "ä", force=False)
    assert (tmp_path / "a.html").read_bytes() == "ä".encode()
    for write, path in ((runs.write_json, "a.json"), (runs.write_page, "a.html")):
        with pytest.raises(UsageError, match="--force"):
            write(tmp_path / path, {}, force=False)
    assert sorted(os.listdir(tmp_path)) == ["a.html", "a.json"]
