"""Which layers stand for which, and what passes through both."""

import copy

import pytest
import torch
from torch import nn

from tdedge.errors import UsageError
from tdedge.formats import get
from tdedge.modules import ChainLayer, factor_of
from tdedge.training.captures import batches
from tdedge.training.pairs import Errors, PairData, called, find_pairs


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.middle = nn.Conv2d(6, 6, 1)
        self.shared = nn.Conv2d(6, 6, 1)
        self.again = nn.Conv2d(6, 6, 1)
        self.again.weight = self.shared.weight
        self.circular = nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular")
        self.unused = nn.Linear(3, 3)
        self.repeats = 1

    def forward(self, x):
        x = self.depthwise(torch.relu_(self.first(x)))
        for _ in range(self.repeats):
            x = torch.relu_(self.middle(x))
        return self.circular(self.again(self.shared(x)))


def chained(network: nn.Module, name: str) -> nn.Module:
    other = copy.deepcopy(network)
    chain = get("svd").decompose(factor_of(getattr(other, name)), (2,))
    setattr(other, name, ChainLayer.from_chain(chain))
    return other


@pytest.fixture
def dense():
    torch.manual_seed(0)
    return Net().eval()


def test_chains_and_plain_layers_behind_them(dense):
    compressed = chained(dense, "middle")
    assert set(find_pairs(compressed, dense, kept_layers=False)) == {"middle"}
    pairs = find_pairs(compressed, dense, kept_layers=True)
    assert set(pairs) == {"first", "middle", "unused"}  # not depthwise, not shared, not circular
    batch = (torch.randn(2, 3, 8, 8),)
    assert called(compressed, dense, pairs, batch) == {"middle": 1}
    compressed = chained(dense, "first")
    pairs = find_pairs(compressed, dense, kept_layers=True)
    assert list(called(compressed, dense, pairs, batch)) == ["first", "middle"]


def test_calls_must_agree(dense):
    batch = (torch.randn(2, 3, 8, 8),)
    compressed = chained(dense, "middle")
    compressed.repeats = 2
    pairs = find_pairs(compressed, dense, kept_layers=False)
    with pytest.raises(UsageError, match=r"'middle': called 2 times .* 1 times in the dense"):
        called(compressed, dense, pairs, batch)
    unused = chained(dense, "unused")
    with pytest.raises(UsageError, match="calls none of its chains"):
        called(unused, dense, find_pairs(unused, dense, kept_layers=False), batch)


@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
@torch.no_grad()
def test_data_are_those_of_each_network(dense, kept_bytes, monkeypatch):
    """Inputs from the compressed network, targets from the dense one, before activations in place."""
    monkeypatch.setattr("tdedge.training.pairs._KEPT_BYTES", kept_bytes)
    compressed = chained(dense, "middle")
    compressed.first.weight.mul_(0.5)
    compressed.repeats = dense.repeats = 2
    x = torch.randn(5, 3, 8, 8)
    data = PairData(compressed, dense, compressed.middle, dense.middle, batches(x, 2), 2)
    for _ in range(2):
        seen = list(data)
        assert [len(pairs[0][0]) for pairs in seen] == [2, 2, 1]
        before = compressed.depthwise(torch.relu(compressed.first(x)))
        assert torch.allclose(torch.cat([pairs[0][0] for pairs in seen]), before)
        second = torch.relu(compressed.middle(before))
        assert torch.allclose(torch.cat([pairs[1][0] for pairs in seen]), second)
        target = dense.middle(dense.depthwise(torch.relu(dense.first(x))))
        assert torch.allclose(torch.cat([pairs[0][1] for pairs in seen]), target)
        assert torch.allclose(torch.cat([p[1][1] for p in seen]), dense.middle(torch.relu(target)))
    assert data.error() > 0


def test_errors_add_up():
    torch.manual_seed(0)
    y = torch.randn(10, 4, 5) * torch.arange(1, 5)[:, None] + 3
    outputs = y + 0.1 * torch.randn(10, 4, 5)
    errors = Errors(axes=1)
    errors.add(outputs[:3], y[:3])
    errors.add(outputs[3:], y[3:])
    expected = (outputs - y).norm() / (y - y.mean((0, 2), keepdim=True)).norm()
    assert errors.relative == pytest.approx(float(expected), rel=1e-5)
    constant = Errors(axes=0)
    constant.add(torch.zeros(3, 2), torch.ones(3, 2))
    assert constant.relative == pytest.approx(6**0.5)
