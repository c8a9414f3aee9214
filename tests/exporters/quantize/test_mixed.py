import math
from dataclasses import replace

import onnx_ir as ir
import pytest
from support.eight_bits import residual, samples
from support.graphs import Net

from tdedge_exporters import graph as g
from tdedge_exporters.quantize import mixed
from tdedge_exporters.quantize.judge import Judge
from tdedge_exporters.quantize.mixed import Stretch
from tdedge_exporters.quantize.quantize import quantize, quantize_judged
from tdedge_exporters.quantize.report import outputs_sqnr_db
from tdedge_exporters.quantize.settings import Int8


def products(model: ir.Model) -> list[str]:
    return [g.node_name(node) for node in model.graph if node.op_type in ("Conv", "Gemm")]


def spoilt() -> ir.Model:
    """:func:`residual` with large weights in "b" that read zeros: the grids of all others are coarse."""
    model = residual()
    held = model.graph.initializers
    arrays = {name: held[name].const_value.numpy().copy() for name in ("w0", "w1", "w2")}
    arrays["w0"][0], arrays["w1"][0], arrays["w2"][:, 0] = 0.0, -1.0, 100.0
    for name, array in arrays.items():
        held[name].const_value = ir.tensor(array, name=name)
    return model


def test_what_adds_noise_and_takes_little_time_comes_first():
    model = residual()
    ratios = dict(zip(products(model), (20.0, 40.0, 40.0, 30.0, math.inf), strict=True))
    found = mixed.stretches(model, products(model), lambda names: ratios[names[0]], 25.0)
    stem, large, pointwise, _, exact = products(model)
    assert found[0].names == (stem,), "it misses the ratio by itself, whatever time it would save"
    assert found[-1].names == (exact,)
    order = [one.names[0] for one in found]
    assert order.index(pointwise) < order.index(large), "noise alike, less work"


def test_every_product_is_judged_alone():
    model = residual()
    asked = []

    def alone_db(names):
        asked.append(tuple(names))
        return 30.0

    found = mixed.stretches(model, products(model), alone_db, 20.0)
    assert asked == [(name,) for name in products(model)]
    assert all(one.float_ms > 0 for one in found)
    assert found[-1].names == ("n_b",)  # noise alike, the most work: the last to stay float32
    assert found[0].names[0] == products(model)[-1]


def test_large_networks_are_judged_in_stretches_of_neighbours(monkeypatch):
    monkeypatch.setattr(mixed, "MOST_STRETCHES", 2)
    model = residual()
    found = mixed.stretches(model, products(model), lambda names: float(len(names)), 20.0)
    first, second = sorted(found, key=lambda one: -len(one.names))
    assert (*first.names, *second.names) == tuple(products(model))
    assert (len(first.names), len(second.names)) == (3, 2)


def test_bisection_keeps_the_fewest():
    ranked = [Stretch((name, name * 2), float(i), 1.0) for i, name in enumerate("abcdefgh")]
    asked = []

    def reaches(names):
        asked.append(len(names))
        return 10.0 * len(names)

    assert mixed.keep_for(ranked, reaches, 95) == ranked[:5]
    assert len(asked) <= 4
    assert mixed.keep_for(ranked, reaches, 5) == ranked[:1]
    assert mixed.keep_for(ranked, reaches, 1000) == ranked


def test_the_ratio_is_that_of_samples_to_come():
    model = residual()
    feeds, come = samples(model, 32), samples(model, 64, seed=9)
    whole = outputs_sqnr_db(model, quantize(model, feeds).model, come)
    wanted = whole + 4
    made = quantize(model, feeds, Int8(min_sqnr_db=wanted))
    assert outputs_sqnr_db(model, made.model, come) > wanted - 0.5
    assert 0 < len(made.report.kept) < 5
    assert made.kept_ms > 0
    assert all(f"for {wanted:g} dB" in why for why in made.report.kept.values())


def test_what_a_runtime_rounds_at_the_end_is_part_of_the_noise():
    """A classifier's scores leave the integers at once; TensorFlow Lite has them on a grid before."""
    model = residual()
    feeds = samples(model, 32)
    others = tuple(name for name in products(model) if name != "n_y")
    settings = Int8(method="mse", keep=others)
    free, rounded = (
        Judge(model, feeds, others, rounds_edges=rounds).sure_db(settings) for rounds in (False, True)
    )
    assert free > rounded + 0.3
    strict = replace(settings, min_sqnr_db=(free + rounded) / 2)
    made = quantize(model, feeds, strict)
    assert set(made.report.kept) == set(others)
    assert made.grids.edges == {"y"}
    assert set(quantize_judged(Judge(model, feeds, others, rounds_edges=True), strict).report.kept) == {
        *others,
        "n_y",
    }


def test_the_product_that_spoils_the_outputs_stays_float():
    model = spoilt()
    feeds = samples(model, 8)
    assert quantize(residual(), feeds).expected_db > 28 > quantize(model, feeds).expected_db
    assert set(quantize(model, feeds, Int8(min_sqnr_db=28)).report.kept) == {"n_b"}


def test_a_pool_between_float_and_integers_has_the_range_of_what_it_reads():
    """Its numbers were not looked at while what makes them was to be on integers."""
    net = Net(1, 3, 16, 16)
    net.conv("x", 8, 3, 3, 3, name="a")
    net.add("MaxPool", "a", kernel_shape=[2, 2], strides=[2, 2], name="p")
    net.conv("p", 8, 8, 3, 3, name="y")
    model = net.model()
    feeds = samples(model, 8)
    made = quantize(model, feeds, Int8(min_sqnr_db=60))
    assert set(made.report.kept) == {"n_a", "n_y"}
    (alone,) = (why for name, why in made.report.kept.items() if name == "n_y")
    assert float(alone.split()[3]) > 35


@pytest.mark.parametrize(
    ("count", "words"), [(1, "with it alone"), (3, "with it and its 2 neighbours alone")]
)
def test_the_reason_names_the_noise(count, words):
    assert words in mixed.why(Stretch(("a",) * count, 41.23, 1.0), 30)
    assert "for 30 dB: 41.2 dB" in mixed.why(Stretch(("a",) * count, 41.23, 1.0), 30)
    assert "no noise" in mixed.why(Stretch(("a",), math.inf, 1.0), 30)
