"""Fine-tuning brings a compressed network back; distillation follows the teacher without labels."""

import copy

import pytest
import torch
from support import training
from torch import nn
from torch.nn import functional

import tdedge
from tdedge.errors import GateError, UsageError
from tdedge.modules import ChainLayer
from tdedge.plan import make_plan
from tdedge.training.finetune import Settings, distillation, finetune


def accuracy(module, data):
    with torch.no_grad():
        return float((module(data[0]).argmax(1) == data[1]).float().mean())


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, padding=2), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.1), nn.Linear(16, 4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return training.gratings(512, 0), training.gratings(256, 1)


@pytest.fixture(scope="module")
def dense(data):
    """A trained dense network, and what training it said."""
    module = small_cnn()
    history = finetune(module, *data[0], Settings(epochs=8, learning_rate=1e-2))
    return module, history


def crushed(dense, data):
    module = copy.deepcopy(dense)
    tdedge.compress(module, make_plan("tucker", ranks=(2, 2), keep=["9"]), example=data[0][0][:1])
    return module


def test_dense_network_learns(dense, data):
    module, history = dense
    assert not module.training
    assert accuracy(module, data[1]) > 0.85
    assert len(history.losses) == 8 and history.steps == 8 * 8
    assert history.losses[-1] < 0.5 * history.losses[0]
    assert history.learning_rates[0] > history.learning_rates[-1] == pytest.approx(0, abs=1e-9)
    assert history.precision == "float32"


def test_compressed_network_comes_back_by_labels(dense, data):
    module = crushed(dense[0], data)
    before = accuracy(module, data[1])
    chains = [layer for layer in module.modules() if isinstance(layer, ChainLayer)]
    kernels = [factor.weight.clone() for chain in chains for factor in chain.factors]
    finetune(module, *data[0], Settings(epochs=6, learning_rate=5e-3))
    after = accuracy(module, data[1])
    assert len(chains) == 2
    assert before < accuracy(dense[0], data[1]) - 0.1
    assert after > before + 0.5 * (accuracy(dense[0], data[1]) - before)
    now = [factor.weight for chain in chains for factor in chain.factors]
    assert not any(torch.equal(a, b) for a, b in zip(kernels, now, strict=True))


def test_distillation_alone_needs_no_labels(dense, data):
    """With distill_weight 1 the labels are never read: wrong ones do no harm."""
    module = crushed(dense[0], data)
    before = accuracy(module, data[1])
    state = {name: value.clone() for name, value in dense[0].state_dict().items()}
    settings = Settings(epochs=6, learning_rate=5e-3, distill_weight=1.0)
    finetune(module, data[0][0], torch.full((512,), 99), settings, teacher=dense[0])
    assert accuracy(module, data[1]) > before + 0.5 * (accuracy(dense[0], data[1]) - before)
    assert all(torch.equal(value, state[name]) for name, value in dense[0].state_dict().items())


def test_same_seed_same_weights_and_random_state_is_kept(data):
    torch.manual_seed(3)
    expected = torch.rand(3)
    results = []
    for seed in (0, 0, 1):
        module = small_cnn()
        torch.manual_seed(3)
        finetune(module, *data[0], Settings(epochs=1, seed=seed))
        assert torch.equal(torch.rand(3), expected)
        results.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_distillation_is_the_scaled_divergence():
    student, goals = torch.randn(5, 4), torch.randn(5, 4)
    p, q = functional.softmax(goals / 3, 1), functional.softmax(student / 3, 1)
    expected = 9 * (p * (p / q).log()).sum(1).mean()
    assert distillation(student, goals, 3.0) == pytest.approx(float(expected), rel=1e-5)
    assert float(distillation(goals, goals, 3.0)) == pytest.approx(0, abs=1e-6)


def test_hooks_losses_and_odd_batches():
    """A custom loss, a frozen part, a last batch of one sample before batch normalisation."""
    torch.manual_seed(0)
    inputs = torch.randn(33, 4)
    labels = inputs @ torch.randn(4, 2)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    module[0].requires_grad_(False)
    frozen = module[0].weight.clone()
    seen = []
    history = finetune(
        module, inputs, labels, Settings(epochs=30, batch_size=32, learning_rate=0.05, schedule="constant"),
        loss=functional.mse_loss, after_epoch=lambda epoch, net: seen.append((epoch, net.training)),
    )  # fmt: skip
    assert seen == [(epoch, False) for epoch in range(30)]
    assert history.losses[-1] < 0.1 * history.losses[0]
    assert set(history.learning_rates) == {0.05}
    assert torch.equal(module[0].weight, frozen)


@pytest.mark.parametrize(
    ("change", "value"),
    [("epochs", 0), ("batch_size", 0), ("learning_rate", 0.0), ("schedule", "linear"),
     ("distill_weight", 1.5), ("temperature", 0.0), ("mixed_precision", "on"), ("gradient_clip", 0.0),
     ("weight_decay", -1.0)],
)  # fmt: skip
def test_wrong_settings_are_named(change, value):
    with pytest.raises(UsageError, match=f"{change} .*expected"):
        Settings(**{change: value})


def test_mistakes_are_one_line():
    module = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(UsageError, match="8 inputs and 7 labels"):
        finetune(module, torch.zeros(8, 4), torch.zeros(7, dtype=torch.long))
    with pytest.raises(UsageError, match="requires a gradient"):
        finetune(module.requires_grad_(False), torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))


def test_a_diverged_run_is_refused():
    module = nn.Sequential(nn.Linear(4, 2))
    inputs = torch.full((8, 4), float("inf"))
    with pytest.raises(GateError, match="epoch 1 at learning rate"):
        finetune(module, inputs, torch.zeros(8, dtype=torch.long))
    assert not module.training
