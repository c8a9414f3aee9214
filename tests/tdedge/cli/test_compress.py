import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_model
from support.networks import save_classifier, save_factory

import tdedge as package
from tdedge.plan import CompressionPlan
from tdedge_exporters.sources import load_module
from tdedge_runtimes.session import open_session

RULE = ("--format", "tucker", "--energy", "0.7")


def test_graph_to_graph(tdedge, folder):
    save_classifier(folder / "net.onnx")
    done = tdedge("compress", "net.onnx", *RULE, "-o", "small.onnx", "--save-plan", "plan.toml", "--json")
    assert done.code == 0, done.err
    assert done.document["written"] == ["small.onnx", "plan.toml"]
    assert "wrote small.onnx, plan.toml" in done.err
    seen = tdedge("inspect", "small.onnx", "--json").document
    assert seen["network"]["macs"] == done.document["compressed"]["macs"] < done.document["dense"]["macs"]
    again = tdedge("compress", "net.onnx", "--plan", "plan.toml", "-o", "again.onnx")
    assert again.code == 0, again.err
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    outputs = []
    for name in ("small.onnx", "again.onnx"):
        with open_session("onnxruntime", name) as session:
            outputs.append(session.run({"x": x})["y"])
    assert np.array_equal(*outputs)


def test_state_loads_back_into_a_compressed_network(tdedge, folder):
    source = save_factory(folder)
    arguments = ("compress", source, *RULE, "--save-plan", "plan.json")
    done = tdedge(*arguments, "-o", "small.safetensors")
    assert done.code == 0, done.err
    assert tdedge(*arguments, "-o", "small.onnx", "--force").code == 0
    module, example = load_module(source)
    package.compress(module, CompressionPlan.load(folder / "plan.json"), example=example)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    load_model(module, folder / "small.safetensors")
    with torch.no_grad():
        expected = module(example).numpy()
    with open_session("onnxruntime", folder / "small.onnx") as session:
        (got,) = session.run({session.inputs[0].name: example.numpy()}).values()
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def test_dry_run_writes_nothing(tdedge, folder):
    save_classifier(folder / "net.onnx")
    done = tdedge("compress", "net.onnx", *RULE, "--save-plan", "plan.toml", "--dry-run", "--json")
    assert done.document["written"] == []
    assert "dry run: nothing written" in done.err
    assert os.listdir(folder) == ["net.onnx"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "small.onnx"], "--format tucker --energy 0.9"),
        ([*RULE, "-o", "small.pth"], "small.pth"),
        ([*RULE, "-o", "small.safetensors"], "only a torch module"),
        ([*RULE, "-o", "net.onnx"], "--force"),
        ([*RULE, "-o", "small.onnx", "--save-plan", "plan.yaml"], "plan.yaml"),
        ([*RULE, "--plan", "plan.toml"], "drop --format"),
        (["--keep", "n_a"], "--keep needs --format"),
    ],
)
def test_mistakes(tdedge, folder, arguments, words):
    before = save_classifier(folder / "net.onnx").read_bytes()
    done = tdedge("compress", "net.onnx", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.last
    assert os.listdir(folder) == ["net.onnx"]
    assert (folder / "net.onnx").read_bytes() == before
