"""Plans applied to networks: what is replaced, what is left alone and why, and what it costs."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tdedge import formats
from tdedge.compress import LayerSite, compress, decompose_layers
from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.modules import ChainLayer, factor_of
from tdedge.plan import CompressionPlan, LayerRule, make_plan


class Small(nn.Module):
    """1-D, 2-D and 3-D convolutions with every kind of geometry, and Linear layers, in one network."""

    def __init__(self):
        super().__init__()
        self.video = nn.Sequential(nn.Conv3d(3, 6, (3, 3, 2), (1, 2, 1), (1, 0, 1)), nn.ReLU())
        self.image = nn.Sequential(
            nn.Conv2d(6, 8, 3, padding="same", dilation=2),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=2, bias=False),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.Conv2d(8, 10, 1, stride=2),
        )
        self.signal = nn.Conv1d(10, 12, 5, stride=2, padding=2)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.image(self.video(x).mean(2))
        return self.head(functional.relu(self.signal(x.flatten(2))).mean(2))


SHAPE = (2, 3, 4, 13, 12)
LAYERS = ["video.0", "image.0", "image.2", "image.3", "image.4", "signal", "head"]


def small(seed=0):
    torch.manual_seed(seed)
    return Small().eval(), torch.randn(SHAPE)


def assert_close(actual, expected, relative):
    with torch.no_grad():
        assert float((actual - expected).abs().max()) <= relative * float(expected.abs().max())


def full_rank_plan(module, name):
    fmt = formats.get(name)
    layers = {
        n: m
        for n, m in module.named_modules()
        if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    }
    return CompressionPlan(layers={
        n: LayerRule(format=name, ranks=fmt.max_ranks(factor_of(m))) for n, m in layers.items()
    })  # fmt: skip


def rows(report):
    return {row.name: row for row in report.rows}


@pytest.mark.parametrize("name", [name for name in formats.FORMATS if name != "ntt"])
def test_full_ranks_leave_the_outputs_equal(name):
    module, x = small()
    with torch.no_grad():
        before = module(x)
    report = compress(module, full_rank_plan(module, name), example=x)
    assert [row.name for row in report.rows] == LAYERS
    assert {row.status for row in report.rows} == {"decomposed"}
    assert max(row.relative_error for row in report.rows) < 1e-5
    assert all(isinstance(module.get_submodule(layer), ChainLayer) for layer in LAYERS)
    assert_close(module(x), before, 1e-5)


def test_costs_are_those_of_the_layers():
    module, x = small()
    outputs = {}
    for name in LAYERS:
        layer = module.get_submodule(name)
        layer.register_forward_hook(lambda m, i, o, name=name: outputs.update({name: (m, o)}))
    module(x)
    expected = {
        name: (
            sum(p.numel() for p in layer.parameters()),
            out.numel() * layer.weight[0].numel(),
            out.numel() * (2 * layer.weight[0].numel() - (layer.bias is None)),
        )
        for name, (layer, out) in outputs.items()
    }
    fresh, _ = small()
    report = compress(fresh, make_plan("tucker", energy=0.5), example=x)
    assert {
        row.name: (row.params_before, row.macs_before, row.flops_before) for row in report.rows
    } == expected
    for row in report.rows:
        parameters = sum(p.numel() for p in fresh.get_submodule(row.name).parameters())
        assert row.params_after == parameters
        assert (
            (row.params_after < row.params_before)
            or (row.macs_after < row.macs_before)
            or row.status == "kept"
        )
    totals = report.totals
    assert totals["params_before"] == sum(p.numel() for p in small()[0].parameters())
    assert totals["params_after"] == sum(p.numel() for p in fresh.parameters())
    assert report.ratios["macs"] == totals["macs_before"] / totals["macs_after"] > 1


def test_the_report_is_json():
    module, x = small()
    report = compress(module, make_plan("cp", energy=0.5), example=[x])
    content = json.loads(json.dumps(report.to_json()))
    assert [row["name"] for row in content["rows"]] == LAYERS
    assert content["totals"] == report.totals
    assert content["ratios"] == report.ratios
    assert content["rows"][0]["ranks"] == list(report.rows[0].ranks)


@pytest.mark.parametrize("plan", [
    make_plan("tucker", energy=0.6),
    make_plan("ht2", ratio=0.5),
    make_plan("cp", rule="evbmf"),
    CompressionPlan(
        layers={"image.*": LayerRule(format="ntt", ratio=0.25), "head": LayerRule(format="svd", ranks=(2,))}
    ),
])  # fmt: skip
def test_a_resolved_plan_repeats_the_compression(tmp_path, plan):
    first, x = small()
    report = compress(first, plan, example=x)
    path = tmp_path / "resolved.toml"
    plan.resolved(report).save(path)
    second, _ = small()
    again = compress(second, CompressionPlan.load(path), example=x)
    assert sum(row.status == "decomposed" for row in report.rows) >= 2
    for a, b in zip(report.rows, again.rows, strict=True):
        assert (a.format, a.ranks, a.params_after, a.macs_after) == (
            b.format,
            b.ranks,
            b.params_after,
            b.macs_after,
        )
    assert torch.equal(first(x), second(x))


# --- which rule does what ------------------------------------------------------------------------------


def test_the_default_rule_skips_depthwise_and_says_so():
    module, x = small()
    report = rows(compress(module, make_plan("tucker", energy=0.4), example=x))
    assert report["image.3"].status == "kept"
    assert "depthwise" in report["image.3"].reason
    assert isinstance(module.image[3], nn.Conv2d)
    module, x = small()
    plan = CompressionPlan(layers={"image.3": LayerRule(format="spatial_svd", ranks=(1,))})
    assert rows(compress(module, plan, example=x))["image.3"].status == "decomposed"


def test_layers_without_taps_become_svd():
    for rule in ({"energy": 0.5}, {"ratio": 0.25}, {"rule": "evbmf"}, {"ranks": [3, 2]}):
        module, x = small()
        report = rows(
            compress(module, make_plan("ht2" if "ranks" not in rule else "tucker", **rule), example=x)
        )
        row = report["image.4"]
        if "ranks" not in rule:
            assert (row.format, len(row.ranks)) == ("svd", 1)
            assert "svd in place of ht2" in row.reason
        else:
            assert (row.format, row.ranks) == ("tucker", (3, 2))
    module, x = small()
    plan = CompressionPlan(default=LayerRule(format="ht2", ranks=(2, 4, 3)), keep=("signal", "video.0"))
    report = rows(compress(module, plan, example=x))
    assert (report["head"].format, report["head"].ranks) == ("svd", (2,))
    assert (report["image.0"].format, report["image.0"].ranks) == ("ht2", (2, 4, 3))


def test_a_chain_that_saves_nothing_is_dropped_unless_it_was_asked_for_by_name():
    module, x = small()
    full = make_plan("tucker", energy=1 - 1e-9)
    row = rows(compress(module, full, example=x))["image.0"]
    assert row.status == "kept"
    assert row.format is None
    assert "neither fewer" in row.reason
    assert row.params_after == row.params_before
    module, x = small()
    plan = CompressionPlan(layers={"image.0": LayerRule(format="tucker", ranks=(6, 8))})
    row = rows(compress(module, plan, example=x))["image.0"]
    assert row.status == "decomposed"
    assert row.params_after > row.params_before


def test_layers_without_a_rule_are_kept():
    module, x = small()
    plan = CompressionPlan(layers={"image.*": LayerRule(format="svd", energy=0.4)}, keep=("image.0",))
    report = rows(compress(module, plan, example=x))
    assert report["image.0"].reason == report["head"].reason == "the plan keeps it"
    assert report["image.2"].status == "decomposed"


def test_chains_to_be_trained_have_no_error():
    module, x = small()
    plan = CompressionPlan(
        layers={"video.*": LayerRule(format="ntt", ratio=0.5)},
        default=LayerRule(format="kcp", ratio=0.5, init="scratch"),
    )
    report = rows(compress(module, plan, example=x))
    assert report["video.0"].relative_error is None
    assert "activated" in report["video.0"].reason
    assert report["image.0"].relative_error is None
    assert "random" in report["image.0"].reason
    assert report["image.0"].init == "scratch"
    module.train()(x).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_ranks_are_clamped_to_the_full_ones():
    module, x = small()
    plan = CompressionPlan(layers={"head": LayerRule(format="svd", ranks=(100,))})
    assert rows(compress(module, plan, example=x))["head"].ranks == (5,)


def test_mistakes_name_the_layer():
    module, x = small()
    plan = CompressionPlan(layers={"image.0": LayerRule(format="tucker", ranks=(2,))})
    with pytest.raises(UsageError, match=r"image\.0.*2 rank"):
        compress(module, plan, example=x)
    with pytest.raises(UsageError, match=r"image\.9.*image\.[0-4]"):
        compress(module, CompressionPlan(keep=("image.9",)), example=x)
    with torch.no_grad():
        module.signal.weight[0, 0, 0] = float("nan")
    with pytest.raises(UsageError, match=r"signal.*NaN"):
        compress(module, make_plan("tucker", energy=0.5), example=x)
    assert not any(isinstance(m, ChainLayer) for m in module.modules())


# --- what is left alone --------------------------------------------------------------------------------


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


# --- how layers are put in -----------------------------------------------------------------------------


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


# --- without torch -------------------------------------------------------------------------------------


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
