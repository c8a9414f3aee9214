"""Local reconstruction brings back accuracy without labels, and never makes a layer worse."""

import copy

import numpy as np
import pytest
import torch
from support import training
from torch import nn

import tdedge
from tdedge.errors import UsageError
from tdedge.modules import ChainLayer
from tdedge.plan import CompressionPlan, LayerRule, make_plan
from tdedge.training import reconstruct as module
from tdedge.training.finetune import Settings, finetune
from tdedge.training.reconstruct import reconstruct


def accuracy(network, data):
    with torch.no_grad():
        return float((network(data[0]).argmax(1) == data[1]).float().mean())


@pytest.fixture(scope="module")
def image_network():
    """A trained CNN, unlabelled images, and a test set."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4),
    )  # fmt: skip
    finetune(network, *training.gratings(768, 0), Settings(epochs=8, learning_rate=5e-3))
    return network, training.gratings(256, 7)[0], training.gratings(512, 1)


@pytest.fixture(scope="module")
def video_network():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(1, 12, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)), nn.BatchNorm3d(12), nn.ReLU(),
        nn.Conv3d(12, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip
    finetune(network, *training.moving_blobs(1024, 0), Settings(epochs=5, learning_rate=2e-2))
    return network, training.moving_blobs(128, 7)[0], training.moving_blobs(256, 1)


def compressed(network, plan, example) -> nn.Module:
    other = copy.deepcopy(network)
    tdedge.compress(other, plan, example=example[:1])
    return other


def layer_errors(network, dense, calibration, names) -> dict[str, float]:
    """Relative output error of every named layer, each in its own network."""
    seen = {}
    handles = [
        net.get_submodule(name).register_forward_hook(
            lambda _, __, output, key=(kind, name): seen.__setitem__(key, output.detach().double())
        )
        for kind, net in (("own", network), ("dense", dense))
        for name in names
    ]
    with torch.no_grad():
        network(calibration), dense(calibration)
    for handle in handles:
        handle.remove()
    errors = {}
    for name in names:
        y, own = seen["dense", name], seen["own", name]
        axes = [axis for axis in range(y.dim()) if axis != 1] if y.dim() > 2 else [0]
        errors[name] = float((own - y).norm() / (y - y.mean(axes, keepdim=True)).norm())
    return errors


IMAGE_CASES = [
    ("svd", 0.3), ("spatial_svd", 0.12), ("tucker1", 0.12), ("tucker", 0.12), ("cp", 0.3), ("tt", 0.12),
    ("ht2", 0.12), ("kcp", 0.2), ("ntt", 0.3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ratio"), IMAGE_CASES)
def test_half_of_the_lost_accuracy_comes_back_without_labels(image_network, name, ratio):
    dense, calibration, test = image_network
    network = compressed(dense, make_plan(name, ratio=ratio, keep=["10"]), calibration)
    whole, plain = accuracy(dense, test), accuracy(network, test)
    report = reconstruct(network, dense, calibration)
    assert whole - plain > 0.05
    assert accuracy(network, test) >= plain + 0.5 * (whole - plain)
    chains = [row for row in report.rows if row.format not in ("dense", "ntt")]
    assert all(row.fitted == row.factors for row in chains)


@pytest.mark.parametrize(("name", "ratio"), [("tucker", 0.2), ("tt", 0.2), ("cp", 0.2), ("kcp", 0.2)])
def test_half_comes_back_on_video(video_network, name, ratio):
    dense, calibration, test = video_network
    network = compressed(dense, make_plan(name, ratio=ratio, keep=["8"]), calibration)
    whole, plain = accuracy(dense, test), accuracy(network, test)
    reconstruct(network, dense, calibration)
    assert whole - plain > 0.05
    assert accuracy(network, test) >= plain + 0.5 * (whole - plain)


def test_the_report_tells_what_running_the_layers_shows(image_network):
    dense, calibration, _ = image_network
    network = compressed(dense, make_plan("tucker", ratio=0.3, keep=["10"]), calibration)
    state = {name: value.clone() for name, value in dense.state_dict().items()}
    before = layer_errors(network, dense, calibration, ["0"])
    network.train()
    report = reconstruct(network, dense, calibration)
    assert network.training and network[0].training and not dense.training
    network.eval()
    after = layer_errors(network, dense, calibration, [row.name for row in report.rows])
    assert [row.name for row in report.rows] == ["0", "4", "6", "10"]
    assert report.rows[0].error_before == pytest.approx(before["0"], rel=1e-3)
    for row in report.rows:
        assert row.error_after == pytest.approx(after[row.name], rel=1e-3)
        assert row.error_after <= row.error_before
        assert row.ridge > 0 and row.sweeps >= 1 and row.reason == ""
    assert report.to_json()["rows"][1]["name"] == "4"
    assert all(torch.equal(value, state[name]) for name, value in dense.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_error_is_asymmetric(image_network):
    """The second layer alone, behind a spoilt first one, repairs what that one lost."""
    dense, calibration, _ = image_network
    plan = CompressionPlan(layers={"4": LayerRule(format="svd", ranks=(20,))})
    network = compressed(dense, plan, calibration)
    with torch.no_grad():
        network[0].weight.mul_(0.7)
        network[1].bias.add_(0.1)
    report = reconstruct(network, dense, calibration, kept_layers=False)
    (row,) = report.rows
    assert row.error_after < 0.5 * row.error_before


def test_kept_layers_repair_or_stay(image_network):
    dense, calibration, _ = image_network
    plan = make_plan("svd", ratio=0.12, keep=["0", "10"])
    left, right = (compressed(dense, plan, calibration) for _ in range(2))
    assert [row.name for row in reconstruct(left, dense, calibration, kept_layers=False).rows] == ["4", "6"]
    rows = reconstruct(right, dense, calibration).rows
    assert [(row.name, row.format) for row in rows] == [("4", "svd"), ("6", "svd"), ("10", "dense")]
    assert rows[-1].error_after < rows[-1].error_before
    assert torch.equal(left[10].weight, dense[10].weight)
    assert not torch.equal(right[10].weight, dense[10].weight)
    assert torch.equal(right[0].weight, dense[0].weight)  # nothing is lost in front of the first chain


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("ridge", [None, 0.0, 1e-6])
def test_few_samples_make_no_layer_worse(image_network, count, ridge):
    dense, calibration, _ = image_network
    network = compressed(dense, make_plan("tt", ratio=0.25, keep=["10"]), calibration)
    report = reconstruct(network, dense, calibration[:count], ridge=ridge)
    assert all(row.error_after <= row.error_before for row in report.rows)
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_full_ranks_stay_exact_and_repeats_agree(image_network):
    dense, calibration, _ = image_network
    plan = CompressionPlan(layers={"4": LayerRule(format="tucker", ranks=(16, 24))})
    network = compressed(dense, plan, calibration)
    row = reconstruct(network, dense, calibration).rows[0]
    assert row.error_after <= row.error_before < 1e-5
    plan = make_plan("cp", ratio=0.3, keep=["10"])
    twins = [compressed(dense, plan, calibration) for _ in range(2)]
    for twin in twins:
        reconstruct(twin, dense, calibration)
    for a, b in zip(twins[0].parameters(), twins[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_activated_links_fit_the_last_factor(image_network):
    dense, calibration, _ = image_network
    network = compressed(dense, make_plan("ntt", ratio=0.5, keep=["0", "10"]), calibration)
    front = [factor.weight.clone() for factor in network[4].factors[:-1]]
    rows = reconstruct(network, dense, calibration).rows
    assert rows[0].fitted == 1 and rows[0].factors == 4
    assert rows[0].error_after < 0.8 * rows[0].error_before
    now = [factor.weight for factor in network[4].factors[:-1]]
    assert all(torch.equal(a, b) for a, b in zip(front, now, strict=True))


def test_wide_layers_keep_their_first_factor(image_network, monkeypatch):
    dense, calibration, _ = image_network
    monkeypatch.setattr(module, "WIDEST", 200)
    network = compressed(dense, make_plan("tucker", ratio=0.3, keep=["0", "10"]), calibration)
    first = network[6].factors[0].weight.clone()
    rows = reconstruct(network, dense, calibration).rows
    assert [row.fitted for row in rows] == [3, 2, 1]
    assert torch.equal(network[6].factors[0].weight, first)
    assert all(row.error_after < row.error_before for row in rows)


class Odd(nn.Module):
    """Two inputs; a grouped, dilated and strided convolution; a layer called twice; Linear on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(6, 12, 3, (2, 1), (1, 2), (1, 2), groups=2)
        self.twice = nn.Conv2d(12, 12, 3, padding="same")
        self.tokens = nn.Linear(12, 10)
        self.unused = nn.Linear(3, 3)

    def forward(self, a, b):
        x = torch.relu(self.grouped(torch.cat([a, b], 1)))
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        return self.tokens(x.flatten(2).mT)


def test_odd_layers_are_fitted():
    torch.manual_seed(0)
    dense = Odd().eval()
    a, b = torch.randn(64, 3, 1, 1) + 0.5 * torch.randn(64, 3, 9, 9), torch.randn(64, 3, 9, 9).cumsum(3)
    network = copy.deepcopy(dense)
    plan = CompressionPlan(
        layers={
            "grouped": LayerRule(format="tucker", ranks=(2, 3)),
            "twice": LayerRule(format="tt", ranks=(4, 6, 6)),
            "tokens": LayerRule(format="svd", ranks=(4,)),
        }
    )
    tdedge.compress(network, plan, example=(a[:1], b[:1]))
    with torch.no_grad():
        y = dense(a, b)
        before = float((network(a, b) - y).norm())
        rows = reconstruct(network, dense, (a, b)).rows
        after = float((network(a, b) - y).norm())
    assert [row.name for row in rows] == ["grouped", "twice", "tokens"]
    assert all(row.fitted == row.factors for row in rows)
    assert all(row.error_after < row.error_before for row in rows)
    assert after < 0.8 * before


def test_only_shares_of_the_positions_are_read(image_network, monkeypatch):
    """A twentieth of the positions finds nearly the same fit; errors are of all positions."""
    dense, calibration, _ = image_network
    plan = make_plan("svd", ratio=0.3, keep=["0", "10"])
    full, part = (compressed(dense, plan, calibration) for _ in range(2))
    rows = reconstruct(full, dense, calibration).rows
    monkeypatch.setattr(module, "_LEAST_ROWS", 800)
    monkeypatch.setattr(module, "_ROWS_PER_COLUMN", 1)
    monkeypatch.setattr("tdedge.training.pairs._KEPT_BYTES", 0)
    fewer = reconstruct(part, dense, calibration).rows
    assert fewer[0].error_before == pytest.approx(rows[0].error_before, rel=1e-6)
    assert rows[0].error_after < fewer[0].error_after < rows[0].error_after * 1.2


def test_mistakes_are_one_line(image_network):
    dense, calibration, _ = image_network
    with pytest.raises(UsageError, match="no chain of the compressed network"):
        reconstruct(copy.deepcopy(dense), dense, calibration)
    network = compressed(dense, make_plan("svd", ratio=0.3), calibration)
    with pytest.raises(UsageError, match="at least 1"):
        reconstruct(network, dense, calibration[:0])
    with pytest.raises(UsageError, match="ridge -1"):
        reconstruct(network, dense, calibration, ridge=-1)
    with pytest.raises(UsageError, match="sweeps 0"):
        reconstruct(network, dense, calibration, sweeps=0)
    with pytest.raises(UsageError, match="'0': its activations are not finite"):
        reconstruct(network, dense, torch.full_like(calibration, float("inf")))
    assert isinstance(network[4], ChainLayer)
    assert np.isfinite(network[4].to_chain().reconstruct()).all()
