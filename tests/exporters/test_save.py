import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_model
from support.networks import save_classifier, save_factory
from torch import nn

from tdedge.compress import compress
from tdedge.errors import UsageError
from tdedge.plan import CompressionPlan, make_plan
from tdedge_exporters.prepare import Source, prepare
from tdedge_exporters.reference import evaluate
from tdedge_exporters.save import check_savable, save_network
from tdedge_exporters.sources import load_module
from tdedge_runtimes.session import open_session

PLAN = make_plan("tucker", energy=0.7)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("small.pt", Source("m:f"), "expected .onnx or .safetensors"),
        ("small", Source("net.onnx"), "expected .onnx or .safetensors"),
        ("small.safetensors", Source("net.onnx"), "only a torch module has a state"),
        ("plan.yaml", None, "expected .toml or .json"),
        ("there.onnx", Source("net.onnx"), "--force"),
    ],
)
def test_refused_before_any_work(tmp_path, name, source, words):
    (tmp_path / "there.onnx").write_text("mine")
    with pytest.raises(UsageError, match=words):
        check_savable(tmp_path / name, source, force=False)


def test_accepted(tmp_path):
    (tmp_path / "there.onnx").write_text("mine")
    check_savable(tmp_path / "there.onnx", Source("net.onnx"), force=True)
    check_savable(tmp_path / "new.onnx", Source("net.onnx"), force=False)
    check_savable(tmp_path / "new.safetensors", Source(nn.ReLU()), force=False)
    check_savable(tmp_path / "plan.toml", None, force=False)


@pytest.mark.parametrize("kind", ["graph", "factory"])
def test_saved_graph_computes_what_was_prepared(tmp_path, kind):
    source = save_classifier(tmp_path / "net.onnx") if kind == "graph" else save_factory(tmp_path)
    prepared = prepare(source, PLAN)
    save_network(prepared, tmp_path / "small.onnx", tmp_path / "plan.json", force=False)
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    name = prepared.model.graph.inputs[0].name
    (expected,) = evaluate(prepared.model, {name: x}).values()
    with open_session("onnxruntime", tmp_path / "small.onnx") as session:
        (got,) = session.run({name: x}).values()
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
    saved = CompressionPlan.load(tmp_path / "plan.json")
    assert saved.model_dump(mode="json", exclude_none=True) == prepared.resolved_plan


def test_saved_state_loads_into_a_fresh_network_compressed_by_the_saved_plan(tmp_path):
    source = save_factory(tmp_path)
    prepared = prepare(source, PLAN)
    save_network(prepared, tmp_path / "small.safetensors", tmp_path / "plan.toml", force=False)
    fresh, example = load_module(source)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.normal_()  # so that what is right afterwards comes from the file
    compress(fresh, CompressionPlan.load(tmp_path / "plan.toml"), example=example)
    load_model(fresh, tmp_path / "small.safetensors")
    with torch.no_grad():
        expected, got = prepared.module(example), fresh(example)
    assert torch.equal(got, expected)
    assert any(row.status == "decomposed" for row in prepared.compression.rows)


def test_existing_file_stays_without_force(tmp_path):
    prepared = prepare(save_classifier(tmp_path / "net.onnx"), PLAN)
    (tmp_path / "small.onnx").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        save_network(prepared, tmp_path / "small.onnx", None, force=False)
    assert (tmp_path / "small.onnx").read_text() == "mine"
    save_network(prepared, tmp_path / "small.onnx", None, force=True)
    assert (tmp_path / "small.onnx").stat().st_size > 1000
    assert sorted(os.listdir(tmp_path)) == ["net.onnx", "small.onnx"]


def test_failed_write_leaves_nothing(tmp_path):
    prepared = prepare(Path(save_classifier(tmp_path / "net.onnx")), PLAN)
    with pytest.raises(AttributeError):  # a graph has no torch state
        save_network(prepared, tmp_path / "small.safetensors", None, force=False)
    assert os.listdir(tmp_path) == ["net.onnx"]
