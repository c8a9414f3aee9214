"""Components that cancel are seen, evened out without changing the layer, and reported if they grow on."""

import numpy as np
import pytest
import torch
from torch import nn

from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.formats import get
from tdedge.modules import ChainLayer
from tdedge.training.finetune import Settings, finetune
from tdedge.training.guards import DegeneracyGuard, degeneracy, rebalance

RNG = np.random.default_rng(3)


def cancelling(size: float) -> Chain:
    """Two terms of norm ``size`` and all but opposite sign, and a third of norm 1 across them."""
    a, b, c = np.eye(6)[:3]
    first = np.stack([a, a, b])[:, :, None, None]
    taps = np.stack([np.eye(3)[0], np.eye(3)[0], np.eye(3)[1]])
    last = np.stack([size * c, (1e-3 - size) * c, a], axis=1)[:, :, None, None]
    return Chain(
        (
            Factor(first),
            Factor(taps[:, None, :, None], pads=((1, 1), (0, 0)), groups=3),
            Factor(taps[:, None, None, :], pads=((0, 0), (1, 1)), groups=3),
            Factor(last, bias=np.ones(6)),
        ),
        "cp",
    )


@pytest.mark.parametrize(
    ("taps", "name"), [((3, 3), "cp"), ((2, 3, 3), "cp"), ((2, 3, 3), "kcp"), ((), "cp")]
)
@pytest.mark.parametrize("groups", [1, 2])
def test_degeneracy_is_norms_over_norm(taps, name, groups):
    dense = Factor(RNG.normal(size=(6 * groups, 5, *taps)), groups=groups)
    chain = get(name).decompose(dense, (4,))
    kernel = chain.reconstruct()
    expected = []
    for group in range(groups):
        rows = slice(4 * group, 4 * group + 4)
        norms = np.prod(
            [np.linalg.norm(f.kernel[rows].reshape(4, -1), axis=1) for f in chain.factors[:-1]], axis=0
        )
        own = slice(6 * group, 6 * group + 6)
        norms = norms * np.linalg.norm(chain.factors[-1].kernel[own].reshape(6, 4), axis=0)
        expected.append(norms.sum() / np.linalg.norm(kernel[own]))
    assert degeneracy(chain) == pytest.approx(max(expected), rel=1e-6)
    assert degeneracy(chain) >= 1


def test_cancelling_terms_are_degenerate():
    assert degeneracy(cancelling(1.0)) == pytest.approx(3, rel=1e-2)
    assert degeneracy(cancelling(1e4)) == pytest.approx(2e4, rel=1e-2)
    with pytest.raises(UsageError, match="'tucker' is no sum of rank-one terms"):
        degeneracy(get("tucker").decompose(Factor(RNG.normal(size=(6, 5, 3, 3))), (3, 3)))


def test_rebalancing_changes_the_scales_only():
    layer = ChainLayer.from_chain(cancelling(1e4))
    x = torch.tensor(RNG.normal(size=(2, 6, 5, 5)))
    before, ratio = layer(x), degeneracy(layer.to_chain())
    rebalance(layer)
    assert torch.allclose(layer(x), before, atol=1e-9)
    assert degeneracy(layer.to_chain()) == pytest.approx(ratio, rel=1e-6)
    norms = [float(factor.weight.detach().norm()) for factor in layer.factors]
    assert max(norms) < 1.01 * min(norms)


def test_a_guard_tells_once_each():
    module = nn.Sequential(ChainLayer.from_chain(cancelling(1.0)), nn.Flatten())
    guard = DegeneracyGuard(module)
    told = []
    for epoch, size in enumerate([10.0, 1e3, 1e4, 1e5, 1e6]):
        for mine, source in zip(module[0].factors, cancelling(size), strict=True):
            mine.weight.data.copy_(torch.tensor(source.kernel))
        told.append(len(guard(epoch, module)))
    assert told == [0, 5, 0, 0, 0]
    assert [(event.epoch, event.action) for event in guard.events] == [(1, "rebalanced"), (2, "diverging")]
    assert guard.events[0].layer == "0"
    assert guard.events[0].now > 100 * guard.events[0].start


def test_training_that_degenerates_a_chain_is_reported():
    """The target has no best rank-2 approximation: a (x) a (x) b + its permutations, the textbook case."""
    a, b = np.eye(2)
    target = sum(np.einsum("i,j,k->ijk", *v) for v in [(a, a, b), (a, b, a), (b, a, a)])
    layer = nn.Conv1d(2, 2, 2, bias=False)
    layer.weight.data = torch.tensor(target, dtype=torch.float32)
    torch.manual_seed(0)
    x = torch.randn(256, 2, 6)
    with torch.no_grad():
        y = layer(x)
    chain = get("cp").scratch(Factor(np.zeros((2, 2, 2), np.float32)), (2,), seed=0)
    module = nn.Sequential(ChainLayer.from_chain(chain))
    guard = DegeneracyGuard(module, limit=2)
    settings = Settings(epochs=40, batch_size=32, learning_rate=0.03, weight_decay=0, schedule="constant")
    history = finetune(module, x, y, settings, loss=nn.functional.mse_loss, after_epoch=guard)
    assert history.losses[-1] < 0.1 * history.losses[0]
    assert history.degenerate == ()  # not a hundred times the start
    assert [event.action for event in guard.events] == ["rebalanced", "diverging"]
