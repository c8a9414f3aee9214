"""The demo, whole, for one runtime: THETIS at the published ranks from network to measured files."""

import json

import pytest

from tdedge.cli.main import run


def test_demo_makes_everything_it_promises(tmp_path, capsys):
    folder = tmp_path / "demo"
    arguments = ["demo", "-o", str(folder), "--to", "onnxruntime", "--effort", "none"]
    assert run([*arguments, "--seconds", "0", "--json", "-q"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {path.name for path in folder.iterdir()} == {
        "dense",
        "compressed",
        "clip.npz",
        "result.json",
        "report.html",
    }
    assert json.loads((folder / "result.json").read_text()) == document
    assert document["cost"]["dense"]["params"] == 696_428
    assert document["cost"]["captured"]["params"] == 13_598
    assert document["cost"]["dense"]["flops"] == 15_774_993_744
    assert document["cost"]["captured"]["flops"] == 2_632_921_440
    assert document["cost"]["dense"]["macs"] == 7_887_496_872
    assert document["cost"]["captured"]["macs"] == 1_317_570_220
    assert 0 < document["compression_error"]["max_rel"] < 0.1
    (comparison,) = document["comparisons"]
    dense, compressed = comparison["rows"]
    assert compressed["mac_ratio"] == pytest.approx(5.986, abs=1e-3)
    assert compressed["realisation"] == pytest.approx(compressed["speedup"] / compressed["mac_ratio"])
    assert all(0 < error <= 1e-4 for error in comparison["parities"].values())
    assert dense["own_memory_bytes"] > 0
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 4

    assert run(["demo", "-o", str(folder), "-q"]) == 2
    assert "--force" in capsys.readouterr().err
