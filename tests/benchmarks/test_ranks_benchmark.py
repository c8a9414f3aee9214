"""The comparison of ways to choose ranks, by hand-made points."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from benchmarks.ranks import choosing
from benchmarks.ranks.benchmark import STAGES, advantages, failed, fastest, markdown
from benchmarks.ranks.networks import COPIES, NETWORKS, Residual, noisy
from benchmarks.ranks.plot import accuracies
from benchmarks.ranks.points import Point
from examples.tasks import Data
from tdedge.ranks.sensitivity import weight_error
from tdedge_exporters.budgeting import TargetTimes, read_dense
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.costs import Cost
from tdedge_exporters.planner.roofline import Roofline
from tdedge_exporters.planning import Planning
from tdedge_exporters.prepare import Source


def point(way, index, share, accuracy):
    return Point(way, index, share, accuracy / 2, accuracy, 10 * share, share)


SEED = [
    point("dense", 0, 1.0, 1.0),
    point("time", 0, 0.6, 0.9),
    point("time", 1, 0.2, 0.8),
    point("macs", 0, 0.6, 0.8),
    point("macs", 1, 0.4, 0.7),
    point("uniform", 0, 0.6, 0.9),
    point("uniform", 1, 0.2, 0.9),
]


def test_the_difference_at_the_same_latency():
    """Against macs over 0.4 to 1: 0.85 - 0.7 at 0.4, 0.1 at 0.6, none at 1; trapezia between."""
    gains = advantages([SEED], "accuracy")
    assert gains["macs"][0] == pytest.approx((0.2 * (0.15 + 0.1) / 2 + 0.4 * 0.1 / 2) / 0.6, abs=2e-3)
    assert gains["uniform"][0] == pytest.approx(-(0.4 * 0.1 / 2) / 0.8, abs=2e-3)


def test_the_fastest_network_of_about_the_same_accuracy():
    lossless = [
        point("dense", 0, 1.0, 0.96),
        *(point("time", i, share, right) for i, (share, right) in enumerate([(0.6, 0.97), (0.3, 0.956)])),
        *(point("macs", i, share, right) for i, (share, right) in enumerate([(0.5, 0.955), (0.4, 0.95)])),
        point("uniform", 0, 0.2, 0.9),
    ]
    assert fastest([lossless], "accuracy") == {"time": [0.3], "macs": [0.5], "uniform": [1.0]}


@pytest.mark.parametrize(
    ("gain", "time", "macs", "fails"),
    [(-0.01, 0.4, 0.3, True), (-0.01, 0.3, 0.4, False), (0.01, 0.4, 0.3, False), (-0.01, 0.3, 0.3, True)],
)
def test_time_must_be_more_accurate_or_faster(gain, time, macs, fails):
    gains = {"resnet": {"accuracy": {"macs": [gain, gain]}}}
    speeds = {"resnet": {"accuracy": {"time": [time] * 2, "macs": [macs] * 2}}}
    assert bool(list(failed(gains, speeds))) is fails


def test_tables_and_plot():
    studies = {"resnet": [SEED, SEED[:-1]]}
    gains = {name: {stage: advantages(seeds, stage) for stage in STAGES} for name, seeds in studies.items()}
    speeds = {name: {stage: fastest(seeds, stage) for stage in STAGES} for name, seeds in studies.items()}
    text = markdown(studies, gains, speeds)
    assert "| resnet | reconstructed | +7.5 points (+7.5, +7.5) |" in text
    assert text.splitlines()[3].endswith("| 100% (100, 100) | 100% (100, 100) | 100% (100, 100) |")
    assert "| time | 6.000 ms | 60% | 60% | 45.0% | 45.0, 45.0 | 90.0% | 90.0, 90.0 |" in text
    assert "| uniform | 2.000 ms | 20% | 20% | 45.0% | 45.0 | 90.0% | 90.0 |" in text
    assert accuracies(studies, STAGES) == accuracies(studies, STAGES)
    assert accuracies(studies, STAGES).startswith("<svg")


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_fit_their_data(name):
    network = NETWORKS[name]
    first, second = network.make(3), network.make(3)
    data = network.load(0)
    with torch.no_grad():
        scores = first.eval()(data.inputs[:2])
        assert torch.equal(scores, second.eval()(data.inputs[:2]))
    assert scores.shape[1] == int(data.labels.max()) + 1


def test_three_ways_at_falling_cost(tmp_path):
    """On a target whose time follows from the operators: every way names a plan per budget it can reach."""

    def measure(files, target, options):
        roofline = Roofline(1.0, 10.0)
        return {label: Cost(roofline.predict_ms(ir.load(path))) for label, path in files.items()}

    network = Residual(2, 1, 10, 1).eval()
    network.example_input = torch.zeros(1, 1, 32, 32)
    planning = Planning("low", cost_table=tmp_path / "costs.sqlite", measure=measure)
    times = TargetTimes(Target("onnxruntime"), planning)
    dense = read_dense(Source(network))
    found = choosing.plans(dense, NETWORKS["resnet"], weight_error, times)
    assert list(found) == list(choosing.WAYS)
    assert len(found["uniform"]) == len(NETWORKS["resnet"].budgets["uniform"])
    for plans in (found["time"], found["macs"]):
        assert len(plans) >= 3
        kept = [sum(np.prod(rule.ranks) for rule in plan.layers.values()) for plan in plans]
        assert len(set(kept)) == len(kept)
        assert all(plan.rule_for("stem") is None for plan in plans)
    ranks = [rank for plan in found["time"] for rule in plan.layers.values() for rank in rule.ranks]
    assert all(rank % 16 == 0 or rank <= 8 for rank in ranks)


def test_samples_to_test_on_are_seen_more_than_once_with_other_noise():
    zeros, labels = torch.zeros(40, 1, 16, 16), torch.arange(40)
    made = noisy(Data(zeros, labels, zeros[:20], labels[:20]), (0.5, 2.0), 3)
    assert made.inputs.std() == pytest.approx(0.5, rel=0.05)
    assert made.test_inputs.std() == pytest.approx(2.0, rel=0.05)
    assert made.test_inputs.shape == (COPIES * 20, 1, 16, 16)
    assert not torch.equal(made.test_inputs[0], made.test_inputs[20])
    assert made.test_labels.tolist() == [*range(20)] * COPIES
    again = noisy(Data(zeros, labels, zeros[:20], labels[:20]), (0.5, 2.0), 3)
    assert torch.equal(made.inputs, again.inputs)
    assert torch.equal(made.test_inputs, again.test_inputs)
