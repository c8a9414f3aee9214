import numpy as np
import onnx_ir as ir
import pytest
from support.eight_bits import clip, residual, samples
from support.graphs import ops

from tdedge.errors import UsageError
from tdedge_exporters.lowering import Target, lower
from tdedge_exporters.onnxruntime import float_operators, integer_operators
from tdedge_exporters.quantize.assemble import with_any_grids
from tdedge_exporters.quantize.quantize import quantize
from tdedge_exporters.quantize.report import outputs_sqnr_db
from tdedge_exporters.quantize.settings import TRIED, Int8


@pytest.mark.parametrize("make", [residual, clip])
@pytest.mark.parametrize("method", ["mse", "minmax", "percentile", "entropy"])
def test_the_quantised_network_is_the_network_but_for_its_noise(make, method):
    model = make()
    made = quantize(model, samples(model, 8), Int8(method=method))
    assert made.report.products == 5
    assert outputs_sqnr_db(model, made.model, samples(model, 4, seed=9)) > 28
    assert made.report.sqnr_db > 28


def test_the_network_is_left_alone():
    model = residual()
    before = [node.name for node in model.graph]
    quantize(model, samples(model, 2))
    assert [node.name for node in model.graph] == before


def test_the_report_names_every_tensor_and_what_is_cut_off():
    model = residual()
    rng = np.random.default_rng(0)  # samples alike, so that little room is left for others
    feeds = [{"x": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(64)]
    report = quantize(model, feeds, Int8(method="percentile", samples=64)).report
    known = {tensor.name: tensor for tensor in report.tensors}
    assert {"x", "a", "c", "d", "e", "r"} <= set(known)
    assert all(0 <= tensor.saturated < 0.01 for tensor in report.tensors)
    assert any(tensor.saturated > 0 for tensor in report.tensors)
    assert report.worst[0].sqnr_db == min(tensor.sqnr_db for tensor in report.tensors)
    content = report.to_json()
    assert content["samples"] == 64
    assert content["tensors"][0].keys() == {"name", "sqnr_db", "saturated"}


def test_products_that_are_kept_stay_real():
    model = residual()
    feeds = samples(model, 32)
    made = quantize(model, feeds, Int8(method="mse", keep=("n_b", "n_d")))
    assert made.report.kept == {"n_b": "asked for", "n_d": "asked for"}
    assert made.report.products == 3
    assert outputs_sqnr_db(model, made.model, feeds) > outputs_sqnr_db(
        model, quantize(model, feeds, Int8(method="mse")).model, feeds
    )


def test_a_ratio_is_reached_by_keeping_the_noisiest():
    model = residual()
    feeds = samples(model, 4)
    whole = quantize(model, feeds).report
    wanted = whole.sqnr_db + 3
    made = quantize(model, feeds, Int8(min_sqnr_db=wanted)).report
    assert made.sqnr_db >= wanted
    assert 0 < len(made.kept) < 5
    assert all(f"for {wanted:g} dB" in why for why in made.kept.values())
    assert made.products == 5 - len(made.kept)


def test_a_node_to_keep_must_exist():
    with pytest.raises(UsageError, match="no node 'conv9'"):
        quantize(residual(), samples(residual(), 1), Int8(keep=("conv9",)))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"method": "finest"}, "unknown calibration method 'finest'"),
        ({"samples": 0}, "0 calibration samples"),
        ({"min_sqnr_db": -3.0}, "-3.0 dB"),
    ],
)
def test_settings_are_checked(wrong, why):
    with pytest.raises(UsageError, match=why):
        Int8(**wrong)


def test_what_is_timed_has_the_operators_of_the_right_one():
    settings = Int8(correct_bias=False)  # which gives every product a bias
    for model in (residual(), clip()):
        assert ops(with_any_grids(model)) == ops(quantize(model, samples(model, 1), settings).model)


def test_the_same_samples_give_the_same_file():
    model = residual()
    feeds = samples(model, 2)
    first, second = (quantize(model, feeds) for _ in range(2))
    for one, other in zip(
        first.model.graph.initializers.values(), second.model.graph.initializers.values(), strict=True
    ):
        np.testing.assert_array_equal(one.const_value.numpy(), other.const_value.numpy())


def test_a_product_that_is_kept_leaves_all_others_on_integers(tmp_path):
    model = residual()
    made = quantize(model, samples(model, 2), Int8(keep=("n_b",)))
    lowered = lower(made.model, tmp_path, Target("onnxruntime", "int8"))
    kinds = list(float_operators(lowered.entry).values())
    assert sum("Conv" in kind for kind in kinds) == 1, kinds
    assert integer_operators(lowered.entry)["QLinearConv"] == 3


def test_a_channel_without_weights_keeps_its_bias():
    model = residual()
    held = model.graph.initializers["w2"]
    array = held.const_value.numpy().copy()
    array[3] = 0
    held.const_value = ir.tensor(array, name="w2")
    feeds = samples(model, 4)
    assert quantize(model, feeds).report.sqnr_db > 28


@pytest.mark.parametrize("seed", range(3))
def test_the_best_method_is_the_best_on_samples_to_come(seed):
    """Within a decibel: halves of the samples decide."""
    model = residual(seed)
    feeds, come = samples(model, 16, seed), samples(model, 64, seed + 100)
    made = {method: quantize(model, feeds, Int8(method=method)) for method in TRIED}
    best = quantize(model, feeds)
    assert best.report.sqnr_db == made[best.report.method].report.sqnr_db
    ratios = {method: outputs_sqnr_db(model, each.model, come) for method, each in made.items()}
    assert ratios[best.report.method] > max(ratios.values()) - 1.0
