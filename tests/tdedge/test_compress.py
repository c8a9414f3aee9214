"""Plans applied to networks: what is replaced, what is left alone and why, and what it costs."""

import json

import pytest
import torch
from support.compressing import LAYERS, assert_close, full_rank_plan, rows, small
from torch import nn

from tdedge import formats
from tdedge.compress import compress
from tdedge.errors import UsageError
from tdedge.modules import ChainLayer
from tdedge.plan import CompressionPlan, LayerRule, make_plan


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
