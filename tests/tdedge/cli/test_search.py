import json
import subprocess
import sys

import numpy as np
import pytest

from tdedge.plan import CompressionPlan

NETWORK = '''
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4),
    )
    return net, torch.zeros(1, 8, 12, 12)

def wide():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU()), torch.zeros(1, 64, 20, 20)

def unseeded():
    torch.seed()
    return nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()), torch.zeros(1, 8, 12, 12)

def inputs():
    return torch.randn(16, 8, 12, 12, generator=torch.Generator().manual_seed(1))

def likeness(module):
    """Minus the distance to the dense outputs, as a share of them."""
    print("asked")
    assert not module.training
    with torch.no_grad():
        dense, own = make()[0].eval()(inputs()), module(inputs())
    return 1 - float((dense - own).norm() / dense.norm())

def train(module):
    print("trained")
    with torch.no_grad():
        list(module.parameters())[-1].fill_(3.0)

def last_parameter(module):
    return float(list(module.parameters())[-1].detach().mean())

def wrong(module):
    return module.nothing

ready = True
'''
BASE = ("nets.py:make", "--storage", "study.db", "--effort", "none", "--formats", "tucker")


@pytest.fixture(autouse=True)
def folders(folder, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("TDEDGE_DEVICES", str(folder / "devices.toml"))
    (folder / "nets.py").write_text(NETWORK)


def test_a_search_writes_its_front_and_goes_on(tdedge, folder):
    command = ("search", *BASE, "--metric", "nets.py:likeness", "-o", "front", "--json")
    done = tdedge(*command, "--trials", "2")
    assert done.code == 0, done.err
    first = done.document
    assert first == json.loads((folder / "front" / "front.json").read_text())
    assert [row["trial"] for row in first["tried"]] == [0, 1]
    assert (first["latency_kind"], first["failed"]) == ("measured", {})
    dense, half = first["tried"]
    assert dense["plan"]["layers"] == {}
    assert dense["accuracy"] == 1 > half["accuracy"]
    assert dense["macs"] == 144 * (8 * 16 * 9 + 16 * 24 * 9) + 24 * 4
    assert half["macs"] == pytest.approx(dense["macs"] / 2, rel=0.3)
    assert all(row["latency_ms"] > 0 for row in first["tried"])
    check_front(folder / "front", first)
    assert "asked" in done.err
    assert "Pareto front of 2 trials" in done.err
    assert "wrote front" in done.err

    assert tdedge(*command, "--trials", "3").last == "tdedge: front exists; pass --force to replace it"
    done = tdedge(*command, "--trials", "3", "--force")
    assert done.code == 0, done.err
    assert done.document["tried"][:2] == first["tried"]
    assert len(done.document["tried"]) == 3
    assert done.err.count("asked") == 1
    check_front(folder / "front", done.document)
    fastest = done.document["front"][0]
    small = tdedge("compress", "nets.py:make", "--plan", f"front/{fastest['file']}", "-o", "s.onnx", "--json")
    assert small.document["compressed"]["macs"] == fastest["macs"]


def check_front(folder, document):
    """The files are the front, and nothing that was tried beats one of them in both figures."""
    front = document["front"]
    assert sorted(path.name for path in folder.glob("*.toml")) == [row["file"] for row in front]
    assert (folder / "front.svg").read_text().startswith("<svg")
    for row in front:
        plan = CompressionPlan.load(folder / row["file"])
        assert plan.model_dump(mode="json", exclude_none=True) == row["plan"]
        for other in document["tried"]:
            assert not (other["latency_ms"] < row["latency_ms"] and other["accuracy"] >= row["accuracy"])
            assert not (other["latency_ms"] <= row["latency_ms"] and other["accuracy"] > row["accuracy"])
    assert max(row["accuracy"] for row in front) == max(row["accuracy"] for row in document["tried"])


def test_starts_are_tried_second_and_candidates_trained_before_they_are_judged(tdedge, folder):
    (folder / "plan.toml").write_text('version = 1\n[layers."2"]\nformat = "tucker"\nranks = [4, 6]\n')
    options = ("--finetune", "nets.py:train", "--metric", "nets.py:last_parameter", "--trials", "2", "--json")
    done = tdedge("search", *BASE, *options, "--start", "plan.toml")
    assert done.code == 0, done.err
    assert [list(row["plan"]["layers"]) for row in done.document["tried"]] == [[], ["2"]]
    assert [row["accuracy"] for row in done.document["tried"]] == [3, 3]
    assert done.err.count("trained") == 2
    assert done.document["made_for"]["finetune"] == "nets.py:train"


def test_a_search_begins_at_what_meets_budgets(tdedge, folder):
    options = ("--storage", "study.db", "--cost-table", "costs", "--formats", "tucker", "--trials", "3")
    command = ("search", "nets.py:wide", *options, "--metric", "nets.py:last_parameter", "--json")
    done = tdedge(*command, "--budgets", "0.7,40%")
    assert done.code == 0, done.err
    dense, first, second = done.document["tried"]
    assert dense["plan"]["layers"] == {}
    assert first["plan"]["layers"].keys() == second["plan"]["layers"].keys() == {"0"}
    assert dense["macs"] > first["macs"] > second["macs"]
    refused = tdedge(*command, "--study", "other", "--budgets", "0.0001")
    assert refused.code == 1
    assert "0% of the dense network's" in refused.last


def test_calibration_data_bring_candidates_nearer_to_the_dense_network(tdedge, folder):
    data = np.random.default_rng(2).standard_normal((64, 8, 12, 12)).astype(np.float32)
    np.savez(folder / "x.npz", input=data)
    options = ("--metric", "nets.py:likeness", "--trials", "2", "--json")
    plain = tdedge("search", *BASE, *options).document
    fitted = tdedge("search", *BASE, *options, "--study", "fitted", "--calibration", "x.npz")
    assert fitted.code == 0, fitted.err
    for before, after in zip(plain["tried"][1:], fitted.document["tried"][1:], strict=True):
        assert before["plan"] == after["plan"]
        assert 1 - after["accuracy"] < 0.8 * (1 - before["accuracy"])
    np.savez(folder / "y.npz", input=data[:, :4])
    wrong = tdedge("search", *BASE, *options, "--study", "third", "--calibration", "y.npz")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "'input' has shape (64, 4, 12, 12); expected (samples, 8, 12, 12)" in wrong.last


def test_latency_is_planned_and_measured_on_the_named_device(tdedge, folder):
    assert tdedge("devices", "add", "here", "local:", "--set", f"folder={folder / 'jobs'}").code == 0
    options = ("nets.py:make", "--storage", "study.db", "--metric", "nets.py:likeness", "--trials", "1")
    done = tdedge("search", *options, "--device", "here", "--cost-table", "costs", "--json")
    assert done.code == 0, done.err
    assert done.document["made_for"]["effort"] == "low"
    assert done.document["tried"][0]["latency_ms"] > 0
    assert (folder / "jobs").is_dir()
    assert (folder / "costs").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument 'SOURCE'"),
        (("nets.py:make", "--storage", "s.db"), "Missing option '--metric'"),
        (("nets.py:make", "--metric", "nets.py:likeness"), "Missing option '--storage'"),
        (("net.onnx", "--metric", "m:f", "--storage", "s.db"), "net.onnx: --metric needs a torch module"),
        ((*BASE, "--metric", "likeness"), "'likeness' names no function"),
        ((*BASE, "--metric", "nets.py:ready"), "ready is a bool; expected a function"),
        ((*BASE, "--metric", "nets.py:nothing"), "there is no 'nothing' in"),
        ((*BASE, "--metric", "nets.py:wrong"), "--metric failed: AttributeError:"),
        ((*BASE, "--metric", "nets.py:likeness", "--finetune", "nets.py:wrong"), "--finetune failed: Attr"),
        ((*BASE, "--metric", "nets.py:train"), "the accuracy is None; expected a number"),
        ((*BASE, "--metric", "nets.py:likeness", "--target", "tensorrt"), "unknown target 'tensorrt'"),
        ((*BASE, "--metric", "nets.py:likeness", "--formats", "tuker"), "did you mean 'tucker'?"),
        ((*BASE, "--metric", "nets.py:likeness", "--formats", ","), "no format to search"),
        ((*BASE, "--metric", "nets.py:likeness", "--trials", "0"), "0 trials; expected at least 1"),
        ((*BASE, "--metric", "nets.py:likeness", "--effort", "all"), "unknown effort 'all'"),
        ((*BASE, "--metric", "nets.py:likeness", "--budgets", "0.5"), "--budgets chooses by measured times"),
        ((*BASE, "--metric", "nets.py:likeness", "--effort", "low", "--budgets", "0.5,2"), "'2' is no share"),
        ((*BASE, "--metric", "nets.py:likeness", "--start", "no.toml"), "no.toml: cannot be read"),
        ((*BASE, "--metric", "nets.py:likeness", "--calibration", "no.npz"), "no.npz is not a readable .npz"),
        ((*BASE, "--metric", "nets.py:likeness", "-o", "."), "holds no front (no front.json)"),
        ((*BASE, "--metric", "nets.py:likeness", "--storage", "no/s.db"), "there is no folder"),
        ((*BASE, "--metric", "nets.py:likeness", "--device", "nowhere"), "nowhere"),
    ],
)
def test_wrong_use_is_one_line(tdedge, folder, arguments, words):
    done = tdedge("search", *arguments, "--no-progress")
    assert (done.code, done.out) == (2, "")
    assert words in done.last
    lines = [line for line in done.err.splitlines() if line not in ("asked", "trained")]
    assert len(lines) == 1
    assert not (folder / "no").exists()


def test_weights_that_change_are_not_mixed(tdedge):
    command = ("search", "nets.py:unseeded", *BASE[1:], "--metric", "nets.py:last_parameter", "--trials", "1")
    assert tdedge(*command).code == 0
    done = tdedge(*command)
    assert done.code == 2
    assert "study 'search' was made for another set of weights:" in done.last


def test_help(tdedge):
    done = tdedge("search", "--help")
    assert (done.code, done.err) == (0, "")
    for option in ("--metric", "--storage", "--trials", "--finetune", "--calibration", "--output"):
        assert option in done.out


def test_the_command_line_does_not_load_optuna():
    code = "import sys, tdedge.cli.main; print([n for n in ('optuna', 'torch') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
