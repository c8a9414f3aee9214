"""Equalised channels, for each target in its own forms, where they gain."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from support.counted import Counted
from support.eight_bits import samples
from support.graphs import Net, assert_close, ops, run

from tdedge_exporters import quantiser
from tdedge_exporters.calibration import Calibration
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.costs import Cost
from tdedge_exporters.planner.plan import TargetPlan
from tdedge_exporters.planning import Planning, plan_network
from tdedge_exporters.quantiser import Equalised, Quantiser, Quantising, timer
from tdedge_exporters.quantize.equalise import equalised
from tdedge_exporters.quantize.judge import Judge
from tdedge_exporters.quantize.quantize import quantize_judged
from tdedge_exporters.quantize.settings import Int8
from tdedge_runtimes.errors import RuntimesError

ORT = Target("onnxruntime", "int8")


def untimed(models, target):
    raise AssertionError("nothing is to be timed")


def chain(spread, seed=0):
    """A clip through two products and a ReLU; ranges of the channels between differ ``spread`` times."""
    net = Net(1, 3, 3, 10, 10, seed=seed)
    decay = spread ** -np.linspace(0, 1, 8)
    first = net.rng.standard_normal((8, 3, 1, 1, 1)) * decay.reshape(-1, 1, 1, 1, 1)
    second = net.rng.standard_normal((5, 8, 3, 3, 3)) / decay.reshape(1, -1, 1, 1, 1)
    net.conv("x", 8, 3, 1, 1, 1, weight=net.weight(array=first), bias=False, name="a")
    net.add("Relu", "a", name="r")
    net.conv("r", 5, 8, 3, 3, 3, weight=net.weight(array=second), pads=1, bias=True, name="y")
    return net.model()


@pytest.mark.parametrize("effort", ["none", "low"])
def test_the_equalised_twin_has_the_forms_of_the_plan(tmp_path, effort):
    model, target = chain(100.0), Target("onnxruntime", "int8")
    planning = Planning(effort, cost_table=tmp_path / "costs.sqlite", measure=Counted())
    planned, plan = plan_network(model, target, planning)
    feeds = samples(model, 8)
    data = Calibration(tuple(feeds[:6]), tuple(feeds[6:]))
    made = Quantiser(model, data, Int8()).quantised([(planned, plan)], target, untimed)
    plain = Quantiser(model, data, Int8(equalise=False)).quantised([(planned, plan)], target, untimed)
    assert (made.links, plain.links) == (1, 0)
    assert plain.source is planned
    assert ops(made.source) == ops(planned)
    assert (ops(planned) == ops(model)) == (effort == "none")
    assert made.quantised.report.sqnr_db > plain.quantised.report.sqnr_db + 3
    for one, other in zip(run(made.source, feeds[0]["x"]), run(model, feeds[0]["x"]), strict=True):
        assert_close(one, other, 2e-5)


def test_a_twin_that_rounds_worse_is_left():
    model, worse = chain(1.0), chain(100.0)
    feeds = samples(model, 6)
    made = Quantising(Equalised(worse, 1), feeds, Int8(), ORT).better((model, None))
    assert (made.links, made.source) == (0, model)
    other = Quantising(Equalised(model, 1), feeds, Int8(), ORT).better((worse, None))
    assert (other.links, other.source) == (1, model)


def test_what_counts_is_the_ratio_on_samples_that_ranges_were_not_found_on(monkeypatch):
    """The twin is better on its own samples and worse on others: it is left."""
    model, twin = chain(1.0), chain(1.0)
    feeds = samples(model, 6)
    known, ratios = {id(model): (30.0, 35.0), id(twin): (40.0, 25.0)}, {}

    def judged(graph, *arguments, **options):
        judge = Judge(graph, *arguments, **options)
        ratios[judge] = known[id(graph)]
        return judge

    def quantised(judge, *arguments, **options):
        made = quantize_judged(judge, *arguments, **options)
        seen, others = ratios[judge]
        return replace(made, report=replace(made.report, sqnr_db=seen), expected_db=others)

    monkeypatch.setattr(quantiser, "Judge", judged)
    monkeypatch.setattr(quantiser, "quantize_judged", quantised)
    assert Quantising(Equalised(twin, 1), feeds, Int8(), ORT).better((model, None)).source is model
    assert Quantising(Equalised(model, 1), feeds, Int8(), ORT).better((twin, None)).source is model


def test_scales_that_samples_gave_are_judged_by_those_of_others():
    """The twin is better on the samples that gave its scales; those of either fold gave worse ones."""
    model, worse = chain(1.0), chain(100.0)
    feeds = samples(model, 6)
    for settings in (Int8(), Int8(method="minmax")):
        for folds, links in (([worse, worse], 0), ([model, model], 1)):
            stage = Quantising(Equalised(model, 1, folds), feeds, settings, ORT)
            assert stage.better((worse, None)).links == links


def test_each_fold_of_the_samples_rescales_a_network_of_its_own():
    model = chain(100.0)
    feeds = samples(model, 6)
    made = Equalised.of(model, feeds)

    def first_weight(network):
        return network.graph.initializers["w0"].const_value.numpy()

    found = [first_weight(network) for network in (made.model, *made.twins)]
    for one, half in zip(found, (feeds, feeds[1::2], feeds[::2]), strict=True):
        np.testing.assert_array_equal(one, first_weight(equalised(model, half)[0]))
    assert not np.array_equal(found[1], found[2])
    assert not Equalised.of(model, feeds[:3]).twins, "too few to be parted"


def test_less_work_in_float32_is_better_than_more_decibels():
    model, worse = chain(1.0), chain(100.0)
    feeds = samples(model, 32)
    floor = Quantising(None, feeds, Int8(), ORT).better((model, None)).quantised.expected_db - 3
    made = Quantising(Equalised(model, 1), feeds, Int8(min_sqnr_db=floor), ORT).better((worse, None))
    assert made.links == 1
    assert made.quantised.report.kept == {}
    alone = Quantising(None, feeds, Int8(min_sqnr_db=floor), ORT).better((worse, None))
    assert alone.quantised.report.kept


def ways_of(model, forms):
    """``model`` as it came, and again under a plan of its own."""
    plan = TargetPlan(
        target=str(ORT), runtime_version="1", machine="m", threads=1, effort="low", kept="plain", why="first"
    )
    return [(model, plan), *((form, plan.model_copy(update={"why": "second"})) for form in forms)]


@pytest.mark.parametrize(("times_ms", "best"), [((5.0, 4.0), 1), ((4.0, 5.0), 0)])
def test_of_near_ways_the_one_that_is_faster_at_the_ratio_is_kept(times_ms, best):
    model, twin = chain(100.0), chain(100.0)
    feeds, asked = samples(model, 6), []
    loose = Quantising(None, feeds, Int8(), ORT).better((model, None)).quantised
    settings = Int8(min_sqnr_db=loose.expected_db + 1)

    def times(models, target):
        asked.append(models)
        assert target == ORT
        return times_ms

    ways = ways_of(model, [twin])
    made = Quantising(None, feeds, settings, ORT).fastest(ways, times)
    assert [len(models) for models in asked] == [2]
    assert made.quantised.model is asked[0][best]
    assert made.source is (model, twin)[best]
    kept = len(made.quantised.report.kept)
    assert kept > 0
    assert made.plan.why == (
        f"faster with as many products in float32 as the ratio needs: 4.00 ms with {kept}, the forms that "
        f"are the fastest with all on integers 5.00 ms with {kept}"
        if best
        else "first"
    )


def test_nothing_is_timed_where_all_are_integers_or_there_is_one_way():
    model = chain(1.0)
    feeds = samples(model, 6)
    ways = ways_of(model, [chain(1.0)])
    assert Quantising(None, feeds, Int8(), ORT).fastest(ways, untimed).source is model
    strict = Int8(min_sqnr_db=90)
    assert Quantising(None, feeds, strict, ORT).fastest(ways[:1], untimed).quantised.kept_ms > 0


def test_where_timing_fails_the_first_way_is_kept():
    model = chain(1.0)

    def broken(models, target):
        raise RuntimesError("the worker ended")

    ways = ways_of(model, [chain(1.0)])
    made = Quantising(None, samples(model, 6), Int8(min_sqnr_db=90), ORT).fastest(ways, broken)
    assert (made.source, made.plan) == ways[0]


def test_networks_are_timed_as_they_would_be_shipped(tmp_path):
    model = chain(1.0)
    made = Quantising(None, samples(model, 6), Int8(), ORT).better((model, None))
    seen = []

    def measure(files, target, options):
        seen.extend(ops(ir.load(path)) for path in files.values())
        return {label: Cost(float(label) + 1) for label in files}

    planning = Planning("low", cost_table=tmp_path / "costs.sqlite", measure=measure)
    assert timer(planning)([made.quantised.model, made.quantised.model], ORT) == [1.0, 2.0]
    assert [found["QuantizeLinear"] for found in seen] == [3, 3]


def test_targets_of_floats_are_not_quantised():
    assert (
        Quantiser(chain(1.0), None, Int8()).quantised([(chain(1.0), None)], Target("tflite"), untimed) is None
    )
