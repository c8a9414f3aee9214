import json
import os

import jsonschema
import pytest
from support.networks import MACS, save_classifier

from tdedge_runtimes.client import result_schema

PLAIN = ("--effort", "none")
FAST = ("--seconds", "0", "--no-progress")


@pytest.fixture
def net(folder):
    return save_classifier(folder / "net.onnx")


def test_artifacts_with_a_common_target(tdedge, net, folder):
    tdedge("export", net, *PLAIN, "-o", "dense")
    rule = ("--format", "tucker", "--ranks", "2,2")
    tdedge("export", net, *PLAIN, "-o", "small", "--to", "openvino,openvino:float16", *rule)
    done = tdedge("bench", "dense", "small", *FAST, "-o", "result.json", "--report", "page.html", "--json")
    assert done.code == 0, done.err
    (run,) = done.document["comparisons"]
    assert run["target"] == "openvino"
    dense, small = run["rows"]
    assert (dense["label"], small["label"]) == ("dense", "small")
    macs = json.loads((folder / "small" / "manifest.json").read_text())["cost"]["exported"]["macs"]
    assert small["mac_ratio"] == pytest.approx(MACS / macs)
    assert small["realisation"] == pytest.approx(small["speedup"] / small["mac_ratio"])
    assert small["own_memory_bytes"] is not None
    assert small["parity"] < 1e-4
    jsonschema.Draft202012Validator(result_schema()).validate(run["result"])
    assert json.loads((folder / "result.json").read_text()) == done.document
    assert "realisation" in (folder / "page.html").read_text()
    assert "openvino, 1 thread" in done.err


def test_files(tdedge, net, folder):
    other = save_classifier(folder / "[red]$x$.onnx", seed=1)
    done = tdedge("bench", net.name, other.name, *FAST, "--no-memory", "--runtime", "openvino", "--seed", "3")
    assert done.code == 0, done.err
    assert "[red]$x$.onnx" in done.out
    assert "openvino, 1 thread" in done.out
    done = tdedge(
        "bench", net.name, other.name, *FAST, "--no-memory", "--json", "-q", "--report", "page.html"
    )
    rows = done.document["comparisons"][0]["rows"]
    assert [row["mac_ratio"] for row in rows] == [None, 1.0]
    assert rows[0]["own_memory_bytes"] is None
    assert done.err == ""
    assert "$x$" in (folder / "page.html").read_text()


def test_models_that_cannot_be_compared(tdedge, net, folder):
    tdedge("export", net, *PLAIN, "-o", "a", "--to", "onnxruntime")
    tdedge("export", net, *PLAIN, "-o", "b", "--to", "openvino")
    done = tdedge("bench", "a", "b")
    assert done.code == 2
    assert "share no target (a: onnxruntime; b: openvino)" in done.last


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net.onnx"], "1 model given"),
        (["net.onnx", "./net.onnx"], "the same model is given twice"),
        (["net.onnx", "gone.onnx"], "gone.onnx does not exist"),
        (["net.onnx", "other.onnx", "--cpus", "0,one"], "--cpus '0,one'"),
        (["net.onnx", "other.onnx", "--threads", "0"], "threads is 0"),
        (["net.onnx", "other.onnx", "--seconds", "-1"], "max_seconds is -1"),
        (["net.onnx", "other.onnx", "-o", "net.onnx"], "net.onnx exists; pass --force"),
        (["net.onnx", "other.onnx", "--report", "net.onnx"], "net.onnx exists; pass --force"),
        (["net.onnx", "other.onnx", "--runtime", "openvimo"], "openvimo"),
        (["net.onnx", "broken.onnx", "--runtime", "openvino"], "broken.onnx"),
    ],
)
def test_mistakes_are_one_line(tdedge, net, folder, arguments, words):
    save_classifier(folder / "other.onnx", seed=1)
    (folder / "broken.onnx").write_bytes(b"nothing")
    before = sorted(os.listdir(folder))
    done = tdedge("bench", *arguments, "--no-progress")
    assert (done.code, done.out) == (2, "")
    assert words in done.last
    assert done.err.count("\n") == 1
    assert sorted(os.listdir(folder)) == before


def test_operators_are_timed(tdedge, net):
    tdedge("export", net, *PLAIN, "-o", "a", "--to", "tflite,onnxruntime")
    tdedge(
        "export", net, *PLAIN, "-o", "b", "--to", "tflite,onnxruntime", "--format", "tucker", "--ranks", "2,2"
    )
    done = tdedge("bench", "a", "b", *FAST, "--no-memory", "--profile", "--json")
    assert done.code == 0, done.err
    told = {name: [op["name"] for op in p["ops"]] for name, p in done.document["profiles"].items()}
    assert set(told) == {"tflite: a", "tflite: b", "onnxruntime: a", "onnxruntime: b"}
    assert len(told["tflite: a"]) < len(told["tflite: b"])
    assert len(told["onnxruntime: a"]) < len(told["onnxruntime: b"])
    assert "Operators of tflite: b" in done.err
    assert "XNNPACK" in done.err
