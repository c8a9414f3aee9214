"""NTT and KCP networks learn from scratch, and keep what they learned as chains."""

import copy

import torch
from support import training

from tdedge.modules import BranchLayer, ChainLayer


def assert_same_answers(left, right, x):
    with torch.no_grad():
        a, b = left(x), right(x)
    assert float((a - b).abs().max()) <= 1e-5 * float(b.abs().max())
    assert torch.equal(a.argmax(1), b.argmax(1))


def test_ntt_learns_images_from_scratch(trained_ntt):
    module, example, accuracy = trained_ntt
    assert accuracy > 0.9
    assert not module.training
    for layer in (module.first, module.second, module.head):
        assert layer.format == "ntt"
        assert not layer.to_chain().is_linear
    folded = copy.deepcopy(module)
    for name in ("first", "second", "head"):
        setattr(folded, name, ChainLayer.from_chain(getattr(module, name).to_chain()))
    assert not any("norm" in key for key in folded.state_dict())
    inputs, labels = training.gratings(256, seed=5)
    assert_same_answers(folded, module, inputs)
    with torch.no_grad():
        assert float((folded(inputs).argmax(1) == labels).float().mean()) > 0.9
    assert example.shape == (4, 3, 16, 16)


def test_kcp_learns_video_from_scratch(trained_kcp):
    module, example, accuracy = trained_kcp
    assert accuracy > 0.9
    assert isinstance(module.second, BranchLayer)
    merged = copy.deepcopy(module)
    merged.second = module.second.merge()
    assert merged.second.to_chain().ranks == (20, 20, 20)
    inputs, labels = training.moving_blobs(128, seed=5)
    assert_same_answers(merged, module, inputs)
    with torch.no_grad():
        assert float((merged(inputs).argmax(1) == labels).float().mean()) > 0.9
    assert example.shape == (4, 1, 8, 16, 16)


def test_untrained_networks_only_guess():
    for module, task in [
        (training.NttNet(), training.gratings),
        (training.KcpNet(), training.moving_blobs),
    ]:
        inputs, labels = task(256, seed=5)
        with torch.no_grad():
            accuracy = float((module.eval()(inputs).argmax(1) == labels).float().mean())
        assert accuracy < 0.6


def test_training_repeats_itself():
    results = [training.train(training.NttNet(7), training.gratings, epochs=1, rate=0.02) for _ in range(2)]
    for a, b in zip(*(result.module.state_dict().values() for result in results), strict=True):
        assert torch.equal(a, b)
    assert results[0].accuracy == results[1].accuracy
