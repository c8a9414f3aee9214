"""Torch layers that are found and replaced, and those that cannot be."""

import numpy as np
import pytest
import torch
from support.compressing import LAYERS, rows, small
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tdedge.compress import LayerSite, compress, decompose_layers
from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.modules import ChainLayer
from tdedge.plan import make_plan


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Odd(nn.Module):
    """Layers that cannot be replaced, each for another reason, and one that can."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Conv2d(3, 16, 3, padding=1)
        self.reflect = nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect")
        self.doubled = Doubled(16, 16, 3, padding=1)
        self.hooked = nn.Conv2d(16, 16, 3, padding=1)
        self.hooked.register_forward_hook(lambda m, i, o: -o)
        self.normed = parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1))
        self.twice = nn.Conv2d(16, 16, 3, padding=1)
        self.alias = self.twice
        self.tied = nn.Conv2d(16, 16, 3, padding=1)
        self.tied_too = nn.Conv2d(16, 16, 3, padding=1)
        self.tied_too.weight = self.tied.weight
        self.unused = nn.Linear(16, 16)
        self.read = nn.Linear(16, 16)
        self.upward = nn.ConvTranspose2d(16, 16, 2, stride=2)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x):
        x = self.normed(self.hooked(self.doubled(self.reflect(self.plain(x)))))
        x = self.tied_too(self.tied(self.alias(self.twice(x))))
        x = self.upward(x).flatten(2).transpose(1, 2)
        x = functional.linear(x, self.read.weight)
        return self.attention(x, x, x)[0]


def test_layers_that_cannot_be_replaced_are_kept_with_the_reason():
    torch.manual_seed(0)
    module, x = Odd().eval(), torch.randn(1, 3, 6, 6)
    before = {name: layer for name, layer in module.named_modules() if name != "plain"}
    report = rows(compress(module, make_plan("tucker", energy=0.3), example=x))
    words = {
        "reflect": "reflect", "doubled": "Doubled", "hooked": "hooks", "normed": "parametris",
        "twice": "twice, alias", "tied": "tied.weight, tied_too.weight", "tied_too": "shared",
        "unused": "never calls", "read": "never calls", "attention.out_proj": "subclass",
    }  # fmt: skip
    assert set(report) == {"plain", *words}
    assert report["plain"].status == "decomposed"
    for name, word in words.items():
        assert report[name].status == "kept", name
        assert word in report[name].reason, name
    for name, layer in before.items():
        assert module.get_submodule(name) is layer
    assert report["twice"].macs_before == 2 * report["reflect"].macs_before
    assert report["unused"].macs_before == 0
    assert report["tied_too"].params_before == 16


def test_old_style_weight_norm_is_kept():
    module = nn.Sequential(torch.nn.utils.spectral_norm(nn.Conv2d(3, 16, 3)), nn.ReLU()).eval()
    report = compress(module, make_plan("tucker", energy=0.3), example=torch.randn(1, 3, 6, 6))
    assert "hooks" in report.rows[0].reason


class ReadsItsLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)

    def forward(self, x):
        return self.first(x) + self.second(x) + self.second.weight.sum()


def test_a_network_that_no_longer_runs_is_put_back():
    module, x = ReadsItsLayer(), torch.randn(2, 16)
    before, layers = module(x), (module.first, module.second)
    with pytest.raises(UsageError, match=r"no longer runs.*weight.*keep"):
        compress(module, make_plan("svd", ratio=0.25), example=x)
    assert (module.first, module.second) == layers
    assert torch.equal(module(x), before)
    report = rows(compress(module, make_plan("svd", ratio=0.25, keep=["second"]), example=x))
    assert report["first"].status == "decomposed"


def test_examples_that_do_not_fit():
    module, _ = small()
    with pytest.raises(UsageError, match=r"\(1, 4, 4, 13, 12\)"):
        compress(module, make_plan("svd", ratio=0.25), example=torch.randn(1, 4, 4, 13, 12))
    assert not any(m._forward_pre_hooks for m in module.modules())


def test_networks_without_layers():
    with pytest.raises(UsageError, match="no convolution"):
        compress(nn.Sequential(nn.ReLU()), make_plan("svd", ratio=0.5), example=torch.randn(1, 3))
    with pytest.raises(UsageError, match=r"Sequential"):
        compress(nn.Linear(3, 3), make_plan("svd", ratio=0.5), example=torch.randn(1, 3))


def test_type_mode_and_trainability_are_kept():
    module, x = small()
    module = module.double().train()
    module.video.eval()
    module.signal.requires_grad_(False)
    compress(module, make_plan("tucker", energy=0.4), example=x.double())
    assert isinstance(module.video[0], ChainLayer)
    assert isinstance(module.signal, ChainLayer)
    assert all(p.dtype == torch.float64 for p in module.parameters())
    assert not any(p.requires_grad for p in module.signal.parameters())
    assert all(p.requires_grad for p in module.video.parameters())
    assert module.training
    assert module.image[0].training
    assert not any(m.training for m in module.video.modules())


def test_the_forward_pass_changes_no_statistics():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Dropout(0.5)).train()
    compress(module, make_plan("tucker", energy=0.3), example=torch.randn(4, 3, 8, 8))
    assert torch.equal(module[1].running_mean, torch.zeros(16))
    assert int(module[1].num_batches_tracked) == 0


def test_unbatched_examples_count_as_one():
    module, x = nn.Sequential(nn.Conv2d(3, 16, 3)).eval(), torch.randn(3, 8, 8)
    (row,) = compress(module, make_plan("tucker", energy=0.3), example=x).rows
    assert row.macs_before == 16 * 27 * 36
    assert module(x).shape == (16, 6, 6)


def test_lazy_layers_are_found():
    module = nn.Sequential(nn.LazyConv2d(16, 3), nn.Flatten(), nn.LazyLinear(8)).eval()
    report = compress(module, make_plan("tucker", energy=0.3), example=torch.randn(1, 3, 8, 8))
    assert [row.status for row in report.rows] == ["decomposed"] * 2


def test_progress_names_every_layer():
    seen = []

    class Heard:
        def start(self, label, total):
            seen.append(total)

        def step(self, detail):
            seen.append(detail)

        def finish(self):
            seen.append(None)

    module, x = small()
    compress(module, make_plan("tucker", energy=0.3), example=x, progress=Heard())
    assert seen == [len(LAYERS), *LAYERS, None]


def test_sites_may_be_called_more_than_once_or_never():
    rng = np.random.default_rng(0)
    factor = Factor(rng.standard_normal((8, 6, 3)), bias=rng.standard_normal(8))
    sites = {
        "a": LayerSite(factor, (1, 6, 10)),
        "b": LayerSite(factor, (1, 6, 10), more_shapes=((1, 6, 20),)),
        "c": LayerSite(factor, None, fixed="never called"),
    }
    done = decompose_layers(sites, make_plan("tucker", ranks=[2, 2]))
    report = rows(done.report)
    assert list(done.chains) == ["a", "b"]
    assert report["a"].macs_before == 8 * 6 * 3 * 8
    assert report["b"].macs_before == 8 * 6 * 3 * (8 + 18)
    assert report["b"].macs_after == done.chains["b"].macs((1, 6, 10)) + done.chains["b"].macs((1, 6, 20))
    assert (report["c"].macs_before, report["c"].reason) == (0, "never called")
    expected = np.linalg.norm(factor.kernel - done.chains["a"].reconstruct()) / np.linalg.norm(factor.kernel)
    assert report["a"].relative_error == pytest.approx(expected, rel=1e-12)
