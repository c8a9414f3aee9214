import json
import os

import numpy as np
import pytest
from support.networks import save_classifier, save_factory

#: Nothing is measured to choose forms.
PLAIN = ("--effort", "none")


@pytest.fixture
def net(folder):
    return save_classifier(folder / "net.onnx")


def test_document_and_tables(tdedge, net, folder):
    done = tdedge("export", net, "-o", "out", *PLAIN, "--json", "--explain")
    assert done.code == 0, done.err
    assert done.document["folder"] == "out"
    assert done.document["manifest"] == json.loads((folder / "out" / "manifest.json").read_text())
    for text in ("Parity", "onnxruntime", "openvino", "tflite", "passed", "Rewrites", "wrote out"):
        assert text in done.err
    assert sorted(os.listdir("out")) == [
        "golden.npz", "manifest.json", "model.bin", "model.onnx", "model.tflite", "model.xml", "plan.json"
    ]  # fmt: skip


def test_compressed_with_everything_given(tdedge, net, folder):
    (folder / "names.txt").write_text("cat\ndog\n\nbird\n\n")
    (folder / "pre.json").write_text('{"scale": 0.5, "color": "BGR"}')
    np.savez(folder / "in.npz", x=np.ones((1, 3, 8, 8), np.float32))
    done = tdedge(
        *("export", net, "-o", "a/b/out", "--to", "onnxruntime,openvino:float16", "--minimal"),
        *("--format", "tucker", "--ranks", "2,2", "--keep", "n_a", "--inputs", "in.npz"),
        *("--labels", "names.txt", "--preprocessing", "pre.json", "--json", "--no-progress", *PLAIN),
    )
    assert done.code == 0, done.err
    manifest = done.document["manifest"]
    assert manifest["labels"] == ["cat", "dog", "", "bird"]
    assert manifest["preprocessing"] == {"scale": 0.5, "mean": [], "std": [], "color": "BGR"}
    assert [target["target"] for target in manifest["targets"]] == ["onnxruntime", "openvino:float16"]
    assert manifest["compression_error"]["max_rel"] > 1e-3
    assert "Compression error" in done.err
    assert "steps in" not in done.err
    with np.load(folder / "a" / "b" / "out" / "golden.npz") as golden:
        assert (golden["input.x"] == 1).all()
    assert (folder / "a" / "b" / "out" / "model.ort").is_file()


def test_quiet_leaves_the_artifact_and_no_word(tdedge, net, folder):
    done = tdedge("export", net, "-o", "out", "--to", "onnxruntime", *PLAIN, "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (folder / "out" / "manifest.json").is_file()


def test_dry_run(tdedge, net, folder):
    done = tdedge("export", net, "-o", "out", "--dry-run", "--json")
    assert done.code == 0
    assert done.document["written"] == []
    assert "dry run: out not written" in done.err
    assert "rewritten" in done.document
    assert os.listdir(folder) == ["net.onnx"]


def test_factory_that_prints_keeps_stdout_clean(tdedge, folder):
    source = save_factory(folder)
    path = folder / "net.py"
    path.write_text(
        "print('imported')\n" + path.read_text().replace("    torch.", "    print('made')\n    torch.", 1)
    )
    for index, extra in enumerate([(), ("--format", "tucker", "--energy", "0.8")]):
        done = tdedge("export", source, "-o", f"out{index}", "--to", "onnxruntime", *PLAIN, "--json", *extra)
        assert done.code == 0, done.err
        assert done.document["manifest"]["source_kind"] == "factory"
        assert "made" in done.err
        assert "warning: ran the code of" in done.err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("--labels", "\n \n", "holds no name"),
        ("--labels", "cat\ndog\n", "2 labels for 4 classes"),
        ("--labels", b"\xff\xfe", "cannot be read"),
        ("--preprocessing", '{"scale": "big"}', "scale"),
        ("--preprocessing", '{"sclae": 1}', "sclae"),
        ("--preprocessing", "{", "document"),
    ],
)
def test_wrong_side_files(tdedge, net, folder, name, content, words):
    (folder / "side").write_bytes(content if isinstance(content, bytes) else content.encode())
    done = tdedge("export", net, "-o", "out", name, "side")
    assert done.code == 2
    assert words in done.last
    assert not (folder / "out").exists()


def test_missing_side_files(tdedge, net):
    for name in ("--labels", "--preprocessing", "--inputs"):
        done = tdedge("export", net, "-o", "out", name, "gone")
        assert done.code == 2
        assert "gone" in done.last


@pytest.fixture
def planned(tdedge, net, folder):
    """What a planned export of a compressed network said; the artifact is in ``out``."""
    return tdedge(
        *("export", net, "-o", "out", "--to", "onnxruntime", "--format", "tucker", "--ranks", "4,4"),
        *("--effort", "low", "--cost-table", "costs.sqlite", "--explain", "--json"),
    )


def test_planned_explained_and_repeated(tdedge, net, folder, planned):
    assert planned.code == 0, planned.err
    assert (folder / "costs.sqlite").is_file()
    for text in ("Time forms", "Plan for onnxruntime", "considered", "measured", "why", "effort low"):
        assert text in planned.err
    (entry,) = planned.document["manifest"]["targets"]
    plan = planned.document["plans"]["onnxruntime"]
    assert (plan["effort"], plan["kept"]) == ("low", entry["plan"]["kept"])
    again = tdedge(
        *("export", net, "-o", "again", "--to", "onnxruntime", "--plan", "out/plan.json"),
        *("--cost-table", "unused.sqlite", "--json"),
    )
    assert again.code == 0, again.err
    assert not (folder / "unused.sqlite").exists()
    assert "replayed" in again.err
    assert again.document["plans"]["onnxruntime"] == {**plan, "replayed": True}
    assert again.document["manifest"]["targets"][0]["files"] == entry["files"]
    assert again.document["compression"]["totals"] == planned.document["compression"]["totals"]

    for source in ("out", "out/plan.json"):
        done = tdedge("inspect", source, "--explain", "--json")
        assert done.code == 0, done.err
        assert done.document["targets"] == {"onnxruntime": plan}
        assert "Plan for onnxruntime" in done.err
    done = tdedge("inspect", "out")
    assert done.code == 2
    assert "--explain shows its plans" in done.last


def test_artifact_without_plans_says_how_to_make_them(tdedge, net):
    tdedge("export", net, "-o", "out", "--to", "onnxruntime", *PLAIN)
    done = tdedge("inspect", "out", "--explain")
    assert (done.code, done.out) == (0, "")
    assert "export with --effort" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--effort", "extreme"), "unknown effort 'extreme'; expected one of none, low, normal, max"),
        (("--threads", "0"), "threads is 0; expected at least 1"),
        (("--plan", "broken.json"), "targets.onnxruntime.kept: field required"),
    ],
)
def test_wrong_planning(tdedge, net, folder, arguments, words):
    broken = {"schema_version": 1, "rewrites": [], "targets": {"onnxruntime": {"target": "onnxruntime"}}}
    plan = {"runtime_version": "1", "machine": "m", "threads": 1, "effort": "low", "why": ""}
    broken["targets"]["onnxruntime"].update(plan)
    (folder / "broken.json").write_text(json.dumps(broken))
    done = tdedge("export", net, "-o", "out", *arguments)
    assert done.code == 2
    assert words in done.last
    assert not (folder / "out").exists()
