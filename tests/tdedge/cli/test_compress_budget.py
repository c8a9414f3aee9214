"""``tdedge compress`` with ranks chosen by a budget, a metric and data."""

import re

import numpy as np
import pytest

FACTORY = """
import torch
from torch import nn


def net():
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4),
    )
    return made.eval(), torch.randn(1, 3, 20, 20)


X = torch.randn(8, 3, 20, 20, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    GOAL = net()[0](X)


def likeness(module):
    with torch.no_grad():
        return 1 / (1 + float((module(X) - GOAL).square().mean() / GOAL.square().mean()))
"""
NET, METRIC = "nets.py:net", "nets.py:likeness"
COMMON = ("--formats", "tucker", "--cost-table", "costs.sqlite", "--effort", "low", "--no-progress", "--json")


@pytest.fixture
def source(folder):
    (folder / "nets.py").write_text(FACTORY)
    return NET


def test_a_share_of_the_macs(tdedge, folder, source):
    arguments = ("--budget", "macs=0.4", "--save-plan", "plan.toml", "--front", "front.svg")
    done = tdedge("compress", source, *COMMON, *arguments, "-o", "small.onnx")
    assert done.code == 0, done.err
    found = done.document
    assert found["compressed"]["macs"] <= 0.4 * found["dense"]["macs"]
    assert found["budget"]["predicted_share"] == pytest.approx(
        found["compressed"]["macs"] / found["dense"]["macs"]
    )
    assert found["budget"]["measured_ms"] == {}
    assert found["written"] == ["small.onnx", "plan.toml", "front.svg"]
    assert "<svg" in (folder / "front.svg").read_text()
    again = tdedge("compress", source, "--plan", "plan.toml", "-o", "again.onnx", "--json")
    assert again.document["compressed"]["macs"] == found["compressed"]["macs"]


def test_a_share_of_the_time_and_what_the_metric_loses(tdedge, source):
    arguments = ("--budget", "latency=0.9", "--metric", METRIC, "--max-drop", "90%")
    done = tdedge("compress", source, *COMMON, *arguments, "-o", "small.onnx")
    assert done.code == 0, done.err
    found = done.document["budget"]
    assert set(found["measured_ms"]) == {"dense", "compressed"}
    assert found["measured_share"] <= 0.92
    assert 0 < found["drop"] < 0.9
    losses = [each["loss"] for each in found["front"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == 0
    assert done.document["compressed"]["macs"] < done.document["dense"]["macs"]


def test_the_cheapest_network_within_a_drop(tdedge, source):
    shares = []
    for drop in ("40%", "10%"):
        done = tdedge(
            "compress", source, *COMMON, "--max-drop", drop, "--metric", METRIC, "-o", "s.onnx", "--force"
        )
        assert done.code == 0, done.err
        assert done.document["budget"]["drop"] <= float(drop[:-1]) / 100
        shares.append(done.document["compressed"]["macs"])
    assert shares[0] < shares[1]


def test_data_weigh_the_layers(tdedge, folder, source):
    """Inputs of one channel alone: what the others' weights lose is not seen."""
    x = np.zeros((8, 3, 20, 20), np.float32)
    x[:, 0] = np.random.default_rng(0).standard_normal((8, 20, 20))
    np.savez(folder / "x.npz", input=x)
    arguments = ("compress", source, *COMMON, "--budget", "macs=0.5", "-o", "s.onnx", "--force")
    blind = tdedge(*arguments).document["budget"]["chosen"]
    done = tdedge(*arguments, "--calibration", "x.npz")
    assert done.code == 0, done.err
    seen = done.document["budget"]["chosen"]
    assert seen["share"] <= 0.5
    assert seen["loss"] != blind["loss"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--budget", "macs=0.001"), 1, "0% of the dense network's .* cannot be reached"),
        (("--budget", "macs=0.1", "--metric", METRIC, "--max-drop", "0%"), 1, "the metric loses"),
        (("--max-drop", "1%"), 2, "--max-drop needs --metric module:function"),
        (("--metric", METRIC), 2, "--metric goes with --budget or --max-drop"),
        (("--calibration", "x.npz"), 2, "--calibration goes with --budget or --max-drop"),
        (
            ("--budget", "macs=0.5", "--max-drop", "many", "--metric", METRIC),
            2,
            "--max-drop 'many'; expected",
        ),
        (("--budget", "speed=2"), 2, "unknown 'speed'; expected one of latency"),
        (("--budget", "macs=0.5", "--format", "tucker", "--energy", "0.9"), 2, "drop --plan and --format"),
        (("--budget", "macs=0.5", "--formats", "tuckr"), 2, "did you mean 'tucker'"),
        (("--budget", "macs=0.5", "--target", "onnxruntime,openvino"), 2, "for one target at a time"),
        (("--budget", "macs=0.5", "--effort", "none"), 2, "--effort none measures nothing"),
        (("--budget", "macs=0.5", "--front", "front.pdf"), 2, "expected .svg or .png"),
        (("--budget", "macs=0.5", "--metric", "nets.py:X"), 2, "X is a Tensor; expected a function"),
        (("--budget", "macs=0.5", "--metric", "nets.py:none"), 2, "there is no 'none'"),
        (("--budget", "macs=0.5", "--calibration", "none.npz"), 2, "none.npz is not a readable"),
        ((), 2, "--budget latency=0.5"),
    ],
)
def test_what_is_refused(tdedge, folder, source, arguments, code, message):
    done = tdedge("compress", source, *COMMON[2:], *arguments, "-o", "small.onnx")
    assert done.code == code
    assert re.search(message, done.last), done.last
    assert not (folder / "small.onnx").exists()


def test_a_graph_has_no_metric(tdedge, folder, source):
    assert tdedge("compress", source, *COMMON, "--budget", "macs=0.6", "-o", "net.onnx").code == 0
    done = tdedge("compress", "net.onnx", *COMMON, "--budget", "macs=0.6", "--metric", METRIC, "-o", "s.onnx")
    assert done.code == 2
    assert "net.onnx: --metric and --calibration need a torch module" in done.last
