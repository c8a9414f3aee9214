"""THETIS Net2: the published figures come out exactly, and the demo weights have the published ranks."""

import numpy as np
import pytest
import torch

from tdedge import formats
from tdedge.compress import compress
from tdedge.modules import ChainLayer, factor_of
from tdedge.networks import thetis
from tdedge.ranks import evbmf

#: layer: (parameters, MACs, FLOPs), dense and decomposed.
PUBLISHED = {
    "conv1": ((14_526, 7_805_952_000, 15_611_904_000), (2_446, 1_311_744_000, 2_621_337_600)),
    "conv2": ((7_216, 80_870_400, 161_740_800), (526, 5_795_136, 11_522_976)),
    "l1": ((663_680, 663_552, 1_327_104), (10_160, 30_704, 60_105)),
    "l2": ((10_836, 10_752, 21_504), (296, 212, 423)),
    "out": ((170, 168, 336), (170, 168, 336)),
}


@pytest.fixture(scope="module")
def compressed():
    network = thetis.dense()
    return network, compress(network, thetis.PLAN, example=torch.zeros(thetis.INPUT_SHAPE))


def test_every_published_figure(compressed):
    _, report = compressed
    figures = {
        row.name: (
            (row.params_before, row.macs_before, row.flops_before),
            (row.params_after, row.macs_after, row.flops_after),
        )
        for row in report.rows
    }
    assert figures == PUBLISHED
    assert report.totals == {
        "params_before": 696_428, "params_after": 13_598,
        "macs_before": 7_887_496_872, "macs_after": 1_317_570_220,
        "flops_before": 15_774_993_744, "flops_after": 2_632_921_440,
    }  # fmt: skip
    assert {key: round(value, 2) for key, value in report.ratios.items()} == {
        "params": 51.22, "macs": 5.99, "flops": 5.99,
    }  # fmt: skip


def test_parameters_are_those_of_the_modules(compressed):
    network, _ = compressed
    assert sum(p.numel() for p in thetis.dense().parameters()) == 696_428
    assert sum(p.numel() for p in network.parameters()) == 13_598
    shapes = [tuple(factor.weight.shape) for factor in network.conv1.factors]
    assert shapes == [(2, 4, 1, 1, 1), (2, 2, 5, 11, 11), (6, 2, 1, 1, 1)]
    assert [tuple(factor.weight.shape) for factor in network.l2.factors] == [(1, 128), (84, 1)]


def test_the_decomposition_is_close_to_the_dense_network(compressed):
    network, report = compressed
    errors = [row.relative_error for row in report.rows if row.status == "decomposed"]
    assert len(errors) == 4
    assert max(errors) < 0.011
    clip = thetis.example_inputs(seed=1)
    with torch.no_grad():
        assert float((network(*clip) - thetis.dense()(*clip)).abs().max()) < 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_evbmf_finds_the_published_ranks(seed):
    network = thetis.dense(seed)
    for name, rule in thetis.PLAN.layers.items():
        dense = factor_of(network.get_submodule(name))
        assert evbmf.choose(dense, formats.get(rule.format)) == rule.ranks


def test_weights_depend_on_the_seed_alone():
    first, again, other = thetis.dense(), thetis.dense(), thetis.dense(seed=1)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_activations_stay_near_unit_scale_and_the_answer_varies():
    network = thetis.dense()
    clips = torch.cat([*thetis.example_inputs(seed=3, batch=4), torch.rand(4, *thetis.INPUT_SHAPE[1:])])
    scales = {}
    for name in ("conv1", "conv2", "l1", "l2", "out"):
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: scales.update({name: float(output.std())})
        )
    with torch.no_grad():
        answers = network(clips)[:, 0].numpy()
    assert all(0.1 < scale < 4 for scale in scales.values()), scales
    assert np.ptp(answers) > 0.1
    assert answers.min() > 0.01
    assert answers.max() < 0.99
    assert len(np.unique(answers.round(4))) == len(answers)


def test_outputs_are_probabilities():
    with torch.no_grad():
        answers = thetis.dense()(*thetis.example_inputs(batch=2))
    assert answers.shape == (2, 2)
    assert torch.allclose(answers.sum(1), torch.ones(2))


def test_example_inputs():
    (clip,) = thetis.example_inputs()
    (again,) = thetis.example_inputs()
    (other,) = thetis.example_inputs(seed=1)
    assert tuple(clip.shape) == thetis.INPUT_SHAPE
    assert clip.dtype == torch.float32
    assert torch.equal(clip, again)
    assert torch.equal(clip, thetis.dense(seed=1).example_input)
    assert not torch.equal(clip, other)
    assert 0 <= float(clip.min()) < float(clip.max()) <= 1
    assert float((clip[:, :, 1:] - clip[:, :, :-1]).abs().mean()) > 0.01


def test_the_compressed_network_alone():
    network = thetis.compressed(seed=1)
    assert isinstance(network.conv1, ChainLayer)
    assert isinstance(network.out, torch.nn.Linear)
    assert not network.training
