import json

import numpy as np
import onnx_ir as ir
import pytest
from support.eight_bits import residual, save_samples

PLAIN = ("--effort", "none", "--no-progress")


@pytest.fixture
def net(folder):
    ir.save(residual(), folder / "net.onnx")
    save_samples(folder / "data.npz", residual(), 8)
    return "net.onnx"


def test_int8_of_every_target_that_names_no_precision(tdedge, net, folder):
    done = tdedge(
        *("export", net, "-o", "out", "--to", "onnxruntime,openvino,openvino:float16", "--int8"),
        *("--calibration", "data.npz", "--calibration-samples", "4", "--calibration-method", "minmax"),
        *("--keep-float", "n_y", "--no-equalise", *PLAIN, "--json", "--explain"),
    )
    assert done.code == 0, done.err
    targets = {entry["target"]: entry for entry in done.document["manifest"]["targets"]}
    assert list(targets) == ["onnxruntime:int8", "openvino:int8", "openvino:float16"]
    found = targets["openvino:int8"]["quality"]
    assert (found["samples"], found["method"], found["kept"]) == (4, "minmax", {"n_y": "asked for"})
    assert set(done.document["quality"]) == {"onnxruntime:int8", "openvino:int8"}
    for words in ("products on integers", "noisiest tensor", "openvino:int8, tensor by tensor", "asked for"):
        assert words in done.err
    assert "computes 1 products in float32" in done.err


def test_verify_of_an_artifact_and_of_files(tdedge, net):
    assert (
        tdedge("export", net, "-o", "out", "--to", "tflite:int8", "--calibration", "data.npz", *PLAIN).code
        == 0
    )
    done = tdedge("verify", "out", "--json", "--no-progress")
    assert done.code == 0, done.err
    assert done.document["parity"]["tflite:int8"]["min_sqnr_db"] == 20.0
    shown = tdedge("inspect", "out", "--explain")
    assert (shown.code, "noisiest tensor" in shown.out) == (0, True)
    failed = tdedge("verify", "out", "--min-sqnr", "90", "--no-progress")
    assert failed.code == 1
    assert "(int8 floor 90.0 dB)" in failed.last
    file = "out/model-int8.tflite"
    given = ("verify", net, file, "--precision", "int8", "--no-progress")
    assert tdedge(*given, "--calibration", "data.npz").code == 0
    missing = tdedge(*given)
    assert (missing.code, "give --inputs or --calibration" in missing.last) == (2, True)
    wrong = tdedge(*given, "--calibration", "data.npz", "--tolerance", "0.1")
    assert (wrong.code, "give --min-sqnr" in wrong.last) == (2, True)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 2, "onnxruntime:int8 needs data to find the ranges of activations: give --calibration FILE.npz"),
        (("--calibration", "gone.npz"), 2, "gone.npz is not a readable .npz file"),
        (("--calibration", "other.npz"), 2, "expected (samples, 3, 16, 16)"),
        (
            ("--calibration", "data.npz", "--calibration-method", "finest"),
            2,
            "unknown calibration method 'finest'",
        ),
        (("--calibration", "data.npz", "--calibration-samples", "0"), 2, "expected at least 1"),
        (("--calibration", "data.npz", "--min-sqnr", "-3"), 2, "expected a positive one"),
        (("--calibration", "data.npz", "--min-sqnr", "300"), 1, "(int8 floor 300.0 dB)"),
        (("--calibration", "data.npz", "--keep-float", "n_none"), 2, "no node 'n_none' to keep in float32"),
    ],
)
def test_what_is_asked_for_wrongly(tdedge, net, folder, options, code, words):
    np.savez(folder / "other.npz", x=np.ones((4, 3, 9, 9), np.float32))
    done = tdedge("export", net, "-o", "out", "--to", "onnxruntime", "--int8", *PLAIN, *options)
    assert done.code == code
    assert words in done.last
    assert not (folder / "out").exists()


def test_data_without_a_target_for_them(tdedge, net):
    done = tdedge("export", net, "-o", "out", "--to", "onnxruntime", "--calibration", "data.npz", *PLAIN)
    assert done.code == 2
    assert "pass --int8, or a target such as onnxruntime:int8" in done.last


def test_random_data_and_integer_ends(tdedge, net, folder):
    done = tdedge(
        *(
            "export",
            net,
            "-o",
            "out",
            "--to",
            "tflite:int8",
            "--calibration",
            "random",
            "--integer-io",
            *PLAIN,
        )
    )
    assert done.code == 0, done.err
    assert "warning: calibrated on random inputs" in done.err
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["targets"][0]["integers"]["x"]["dtype"] == "int8"
    assert any("unknown" in text for text in manifest["warnings"])
