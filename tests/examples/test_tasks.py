"""The data of the examples, the ranks that are chosen for them, and one small run from end to end."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from examples.cases import CASES, Case, choose, plan_for
from examples.steps import accuracy, file_accuracy
from examples.tables import Result
from examples.tasks import Data, digits, moving_shapes
from examples.train import run
from tdedge import torch_layers
from tdedge.compress import compress
from tdedge.errors import UsageError
from tdedge.networks import thetis
from tdedge.progress import SILENT
from tdedge_runtimes.measure import MeasureOptions


@pytest.fixture(scope="module")
def scans():
    return digits.load(0)


def test_digits_are_deterministic_and_balanced(scans):
    again, other = digits.load(0), digits.load(1)
    assert torch.equal(scans.inputs, again.inputs)
    assert torch.equal(scans.test_inputs, again.test_inputs)
    assert not torch.equal(scans.test_inputs, other.test_inputs)
    counts = torch.bincount(scans.test_labels)
    assert len(counts) == 10
    assert counts.min() >= 57 and counts.max() <= 61
    assert scans.inputs.shape[1:] == (1, 16, 16)
    assert float(scans.inputs.min()) == 0 and float(scans.inputs.max()) == 1


def test_no_scan_is_learnt_from_and_tested_on(scans):
    plain = scans.inputs[: len(scans.inputs) // 2].flatten(1)
    distances = torch.cdist(scans.test_inputs.flatten(1), plain).min(1).values
    assert int((distances < 1e-6).sum()) == 0
    assert len(plain) + len(scans.test_inputs) == 1797


def test_clips_are_deterministic_and_balanced():
    clips, labels = moving_shapes.clips(64, 3)
    again, _ = moving_shapes.clips(64, 3)
    other, _ = moving_shapes.clips(64, 4)
    assert clips.shape == (64, *moving_shapes.CLIP)
    assert torch.equal(clips, again)
    assert not torch.equal(clips, other)
    assert torch.bincount(labels).tolist() == [32, 32]
    assert abs(float(clips.mean())) < 0.3
    assert 0.5 < float(clips.std()) < 1.5


def test_clips_of_both_classes_have_the_same_frames():
    clips, labels = moving_shapes.clips(16, 0)
    assert torch.equal(clips[0::2], clips[1::2].flip(2))
    assert not torch.equal(clips[0::2], clips[1::2])
    assert labels[0::2].eq(0).all() and labels[1::2].eq(1).all()


def test_no_frame_tells_the_class_but_two_do():
    """Ridge regression guesses from one frame, and from all; it sees the direction in products of two."""
    clips, labels = moving_shapes.clips(1200, 5)
    small = torch.nn.functional.avg_pool3d(clips, (1, 4, 4))
    truth = (2 * labels - 1).double().numpy()
    for features in (small[:, :, 0], small[:, :, 7], small.sum(2), small.square().sum(2)):
        assert abs(_linear(features.flatten(1).double().numpy(), truth) - 0.5) < 0.09
    depth = clips[:, 3]
    moved = [(depth[:, 1:] * depth[:, :-1].roll(step, 3)).mean((1, 2, 3)) for step in range(-3, 4)]
    assert _linear(torch.stack(moved, 1).double().numpy(), truth) > 0.8


def _linear(features, truth):
    """Accuracy on the second half of a ridge regression on the first."""
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-9)
    scaled = np.c_[scaled, np.ones(len(scaled))]
    half = len(scaled) // 2
    gram = scaled[:half].T @ scaled[:half] + 10 * np.eye(scaled.shape[1])
    weights = np.linalg.solve(gram, scaled[:half].T @ truth[:half])
    return float((np.sign(scaled[half:] @ weights) == truth[half:]).mean())


def test_the_clip_network_has_the_published_layers_and_ranks():
    network = moving_shapes.network(0)
    published = thetis.Net2()
    for name in ("conv2", "l1", "l2", "out"):
        assert network.get_submodule(name).weight.shape == published.get_submodule(name).weight.shape
    assert moving_shapes.TASK.published["tucker"] == thetis.PLAN.layers
    plan = plan_for(
        Case("tucker"), {}, times=4, keep=("out",), published=moving_shapes.TASK.published["tucker"]
    )
    report = compress(network, plan, example=torch.zeros(1, *moving_shapes.CLIP))
    assert report.ratios["params"] > 51
    assert report.ratios["macs"] > 4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_every_case_is_as_cheap_as_asked_and_hardly_cheaper(case):
    network = digits.network(0)
    example = torch.zeros(1, 1, 16, 16)
    found = torch_layers.find(network, (example,))
    sites = {name: layer.site for name, layer in found.items()}
    plan = plan_for(case, sites, times=4, keep=digits.TASK.keep)
    light = replace(case, init="scratch")  # the same ranks, without decomposing
    report = compress(network, plan_for(light, sites, times=4, keep=digits.TASK.keep), example=example)
    assert {name: rule.ranks for name, rule in plan.layers.items()} == {
        row.name: row.ranks for row in report.rows if row.ranks
    }
    assert min(report.ratios["macs"], report.ratios["params"]) >= 4
    assert min(report.ratios["macs"], report.ratios["params"]) < 4.6
    assert len(plan.layers) == 6


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="unknown format 'tuker'"):
        choose(["tuker"])
    found = torch_layers.find(digits.network(0), (torch.zeros(1, 1, 16, 16),))
    sites = {name: layer.site for name, layer in found.items()}
    with pytest.raises(UsageError, match="cannot make the network 100000 times cheaper"):
        plan_for(Case("svd"), sites, times=100000, keep=digits.TASK.keep)


def test_a_small_run_from_end_to_end(tmp_path, scans):
    """Half-trained in seconds: each stage changes the accuracy, and the file has that of the network."""
    data = Data(scans.inputs[:1200], scans.labels[:1200], scans.test_inputs[:200], scans.test_labels[:200])
    task = replace(
        digits.TASK,
        load=lambda seed: data,
        dense=replace(digits.TASK.dense, epochs=3, batch_size=32),
        tune=replace(digits.TASK.tune, epochs=1),
    )
    options = MeasureOptions(min_blocks=2, max_blocks=2, warmup_seconds=0.0, max_seconds=0.0, resamples=10)
    result = run(task, ["tucker"], [0], tmp_path, SILENT, options=options, effort="none")
    dense, tucker = result.seeds[0]
    assert dense.tuned > 0.8
    assert dense.exported == dense.tuned
    assert tucker.macs_ratio >= 4
    assert tucker.reconstructed > tucker.decomposed + 0.2
    assert tucker.tuned > 0.8
    assert tucker.exported == pytest.approx(tucker.tuned, abs=0.006)
    for row in (dense, tucker):
        assert list(row.int8) == ["onnxruntime", "openvino", "tflite"]
        for integers in row.int8.values():
            assert integers.error == ""
            assert integers.sqnr_db > 15
            assert integers.agreement > 0.9
            assert integers.accuracy == pytest.approx(row.tuned, abs=0.05)
    assert {row.label: row.parity < 1e-4 for row in result.comparison.rows()} == {
        "dense-plain": True, "dense": True, "tucker": True,
    }  # fmt: skip
    document, page = result.to_json(), result.to_markdown()
    assert document["measured"]["options"]["threads"] == 1
    assert "| tucker |" in page
    assert "`python -m examples.train digits --formats tucker`" in page
    assert "recovers half" in page
    assert "tucker int8: within 0.5 points of float32 in every runtime" in page

    again = run(task, ["tucker"], [0], tmp_path, SILENT, options=options, effort="none")
    assert again.seeds == result.seeds
    network, _ = digits.network(0), None
    network.load_state_dict(torch.load(tmp_path / "seed0" / "dense.pt", weights_only=True))
    assert accuracy(network, data) == dense.tuned
    assert file_accuracy(tmp_path / "seed0" / "tucker", data) == tucker.exported


def test_claims_are_told_as_they_are():
    from examples.steps import Row

    def row(label, decomposed, reconstructed, tuned):
        return Row(label, {}, 4.0, 4.0, decomposed, reconstructed, tuned, None)

    rows = [
        row("dense", None, None, 0.99),
        row("svd", 0.59, 0.89, 0.985),
        row("tt", 0.59, 0.69, 0.97),
        row("ntt-scratch", None, None, 0.97),
        row("tt-scratch", None, None, 0.98),
        row("kcp-scratch", None, None, 0.99),
    ]
    claims = {
        claim: (found, holds) for claim, found, holds in Result(digits.TASK, 4, {0: rows}, None).claims()
    }
    recovers = "reconstruction without labels recovers half of what decomposition lost"
    assert claims["svd: within 1 point of the dense network"] == ("-0.50 points", True)
    assert claims["tt: within 1 point of the dense network"] == ("-2.00 points", False)
    assert claims[f"svd: {recovers}"] == ("75 %", True)
    assert claims[f"tt: {recovers}"] == ("25 %", False)
    assert claims["NTT above TT, both from scratch"] == ("-1.00 points", False)
    assert claims["KCP from scratch at or above the dense network"] == ("+0.00 points", True)
