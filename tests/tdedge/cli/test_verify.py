import pytest
from support.networks import save_classifier


@pytest.fixture
def artifact(tdedge, folder):
    save_classifier(folder / "net.onnx")
    assert tdedge("export", "net.onnx", "--effort", "none", "-o", "out").code == 0
    return folder / "out"


def test_artifact(tdedge, artifact):
    done = tdedge("verify", artifact)
    assert done.code == 0
    assert done.out.count("Parity") == 1
    assert done.out.count("passed") == 3


def test_document(tdedge, artifact):
    done = tdedge("verify", artifact, "--json")
    assert list(done.document["parity"]) == ["onnxruntime", "openvino", "tflite"]
    assert done.document["parity"]["openvino"]["passed"] is True
    assert "Parity" in done.err


def test_float16_file_needs_to_be_called_one(tdedge, artifact):
    assert (
        tdedge("export", "net.onnx", "--effort", "none", "-o", "half", "--to", "openvino:float16").code == 0
    )
    arguments = ("verify", "net.onnx", "half/model-float16.xml")
    assert tdedge(*arguments).code == 1
    done = tdedge(*arguments, "--precision", "float16", "--json")
    assert done.code == 0, done.err
    assert done.document["parity"]["half/model-float16.xml"]["tolerance"] == 2e-2


def test_changed_file_is_refused(tdedge, artifact):
    with (artifact / "model.bin").open("ab") as stream:
        stream.write(b"x")
    done = tdedge("verify", artifact, "--json")
    assert (done.code, done.out) == (2, "")
    assert "'model.bin' was changed since the export" in done.last


def test_failure_is_exit_1_after_the_whole_table(tdedge, artifact, folder):
    save_classifier(folder / "[red]other.onnx", seed=1)
    done = tdedge("verify", "net.onnx", "[red]other.onnx", "out/model.xml", "--json")
    assert done.code == 1
    assert {name: report["passed"] for name, report in done.document["parity"].items()} == {
        "[red]other.onnx": False,
        "out/model.xml": True,
    }
    assert "[red]other.onnx" in done.err.split("tdedge: ")[0]
    assert "FAILED" in done.err
    assert done.last.startswith("tdedge: parity failed: [red]other.onnx: output 'y' differs by")
    assert "model.xml" not in done.last


def test_failure_is_not_hidden_by_quiet(tdedge, artifact):
    done = tdedge("verify", artifact, "--tolerance", "1e-12", "-q")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert "onnxruntime" in done.last and "openvino" in done.last
    assert tdedge("verify", artifact, "-q").err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net.onnx"], "expected an artifact folder"),
        (["out", "--inputs", "in.npz"], "expected an artifact folder"),
        (["out", "--input-shape", "x=1,3,8,8"], "expected an artifact folder"),
        (["."], "is no tdedge artifact"),
        (["net.onnx", "gone.onnx"], "gone.onnx does not exist"),
        (["net.onnx", "out/plan.json"], "plan.json"),
        (["out", "--tolerance", "-1"], "must be positive"),
        (["net.onnx", "out/model.xml", "--precision", "float8"], "float8"),
    ],
)
def test_mistakes(tdedge, artifact, arguments, words):
    done = tdedge("verify", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.last
