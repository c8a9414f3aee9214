"""Integers in the forms of float32: found, timed beside the cheapest forms, kept where they are faster."""

import pytest
from support.graphs import Net, assert_close, ops, run
from support.recorded import OPSET, PLACE, Recording, recorded

from tdedge_exporters.lowering import Target
from tdedge_exporters.planner import plan as plans
from tdedge_exporters.planner.candidates import candidates
from tdedge_exporters.planner.checks import LENT, PLAIN, PLANNED
from tdedge_exporters.planner.costs import Cost, CostTable
from tdedge_exporters.planner.efforts import settings
from tdedge_exporters.planner.lent import lent
from tdedge_exporters.planner.planner import here, plan, plan_target
from tdedge_exporters.planner.pricing import Pricing
from tdedge_exporters.planner.search import search
from tdedge_exporters.planner.units import network
from tdedge_runtimes.measure import MeasureOptions

INT8, FLOAT = Target("onnxruntime", "int8"), Target("onnxruntime")


def conversion(value, source, target):
    return 0.5


def residual_clip():
    """A dense factor, a depthwise one and a sum cut at zero: one unit on integers, two in float32."""
    net = Net(1, 8, 4, 6, 6)
    a = net.conv("x", 8, 8, 3, 3, 3, pads=1, bias=True, name="a")
    b = net.conv(net.add("Relu", a), 8, 8, 3, 1, 1, pads=[1, 0, 0, 1, 0, 0], groups=8, name="b")
    net.add("Relu", net.add("Add", b, a, name="c"), name="y")
    return net


def of_forms(net, offered, *forms):
    """The choice of the first of ``forms`` that a unit is offered, else as it came."""
    rank = {form: place for place, form in enumerate(forms)}
    costs = [float(rank.get(each.form, 2.9 if each.is_plain else 3.0)) for each in offered]
    return search(net, offered, costs, conversion), costs


@pytest.fixture
def parts():
    """(network, its candidates, as executed in float32 by frames that are added up)."""
    model = residual_clip().model()
    floats = network(model)
    choice, _ = of_forms(floats, candidates(floats, settings("normal", FLOAT).scope), "frames.sum", "map")
    assert [each.form for each in choice.chosen] == ["frames.sum", "map", "frames.sum", "map", "map"]
    net = network(model, integers=True)
    return net, candidates(net, settings("normal", INT8).scope), choice


def test_forms_of_float32_with_frames_joined_where_they_were_added_up(parts):
    net, offered, floats = parts
    best, costs = of_forms(net, offered, "apart.joined", "apart.sum", "map")
    assert {str(each.reads) for each in best.chosen} == {"apart"}
    found = lent(net, offered, costs, conversion, best, floats)
    assert [each.form for each in found.chosen] == ["frames.joined", "map", "frames.sum", "map"]
    assert {str(each.reads) for each in found.chosen} == {"frames"}


@pytest.mark.parametrize("form", ["apart.sum", "apart.minimal2"])
def test_whatever_float32_adds_up_is_joined(parts, form):
    net, offered, _ = parts
    floats = network(net.model)
    offered_floats = candidates(floats, settings("normal", FLOAT).scope)
    choice, _ = of_forms(floats, offered_floats, form, "apart.sum", "map")
    assert choice.chosen[0].form == form
    best, costs = of_forms(net, offered, "frames.joined", "frames.sum", "map")
    found = lent(net, offered, costs, conversion, best, choice)
    assert [each.form for each in found.chosen] == ["apart.joined", "map", "apart.sum", "map"]


def test_nothing_is_lent_where_it_is_what_costs_least(parts):
    net, offered, floats = parts
    best, costs = of_forms(net, offered, "frames.joined", "frames.sum", "map")
    assert lent(net, offered, costs, conversion, best, floats) is None


def test_nothing_is_lent_where_float32_leaves_the_network_as_it_came(parts):
    net, offered, _ = parts
    floats = network(net.model)
    plain, _ = of_forms(floats, candidates(floats, settings("normal", FLOAT).scope))
    best, costs = of_forms(net, offered, "frames.joined", "frames.sum", "map")
    assert lent(net, offered, costs, conversion, best, plain) is None


def test_a_form_that_integers_lack_is_replaced_by_the_cheapest():
    model = Net(1, 8, 4, 6, 6)
    model.conv(model.conv("x", 8, 8, 1, 1, 1, name="a"), 8, 8, 1, 3, 3, name="b")
    graph = model.model()
    floats = network(graph)
    scope = settings("normal", FLOAT).scope
    theirs, _ = of_forms(floats, candidates(floats, scope), "matmul.left")
    net = network(graph, integers=True)
    offered = candidates(net, settings("normal", INT8).scope)
    assert "matmul.left" in {each.form for each in theirs.chosen} - {each.form for each in offered}
    best, costs = of_forms(net, offered, "segments.2", "packed.1x2x2")
    assert [each.form for each in best.chosen] == ["packed.1x2x2"]
    found = lent(net, offered, costs, conversion, best, theirs)
    assert [each.form for each in found.chosen] == ["segments.2", "plain.factor"]


def planned(**times_ms):
    """A network on integers whose frames cost least apart; in float32 they are together and added up."""
    net = residual_clip()
    model = net.model()
    floats = network(model)
    choice, _ = of_forms(floats, candidates(floats, settings("normal", FLOAT).scope), "frames.sum", "map")
    scope = settings("normal", INT8).scope

    def cost_ms(candidate):
        return 1.0 if str(candidate.reads) == str(candidate.gives) == "apart" else 3.0

    times = Recording(recorded(network(model, integers=True), scope, cost_ms).__getitem__)
    asked = []

    def check(models):
        asked.append(list(models))
        return {label: Cost(times_ms[label]) for label in models}

    pricing = Pricing(CostTable(), PLACE, INT8, times, MeasureOptions(), OPSET)
    return net, model, plan(model, pricing, scope, check, floats=choice), asked


def test_the_faster_one_is_kept_and_is_exact_and_can_be_replayed():
    net, model, made, asked = planned(**{PLAIN: 9.0, PLANNED: 8.0, LENT: 7.0})
    assert asked == [[PLAIN, PLANNED, LENT]]
    assert made.is_costlier
    assert {each.form for each in made.choice.chosen} == {"frames.joined", "frames.sum", "map"}
    x = net.sample()
    assert_close(run(made.model, x), run(model, x))
    document = plans.of(made, INT8, here(INT8, 1), "normal")
    assert (document.kept, document.check.plain_ms, document.check.planned_ms) == ("planned", 9.0, 7.0)
    assert document.why == (
        "the planned network is faster in the forms of float32: 7.00 ms, plain 9.00 ms, "
        "in the forms that cost least 8.00 ms"
    )
    assert ops(plans.replay(model, plans.from_json(document.to_json()))) == ops(made.model)
    rejected = [row for piece in document.pieces for row in piece.rejected if row.form.startswith("apart")]
    assert {row.reason.partition(" ms ")[2] for row in rejected} >= {
        "cheaper by the costs of its parts, but the whole was slower"
    }


@pytest.mark.parametrize(
    ("planned_ms", "lent_ms", "kept", "why"),
    [
        (6.0, 7.0, "planned", "faster: 6.00 ms, plain 9.00 ms, in the forms of float32 7.00 ms"),
        (9.5, 9.2, "plain", "not faster: 9.50 ms, plain 9.00 ms, in the forms of float32 9.20 ms"),
    ],
)
def test_the_slower_one_is_not(planned_ms, lent_ms, kept, why):
    _, model, made, _ = planned(**{PLAIN: 9.0, PLANNED: planned_ms, LENT: lent_ms})
    assert not made.is_costlier
    assert "frames.joined" not in {each.form for each in made.choice.chosen}
    document = plans.of(made, INT8, here(INT8, 1), "normal")
    assert (document.kept, document.why) == (kept, f"the planned network is {why}")
    assert (made.model is model) == (kept == "plain")


@pytest.mark.parametrize(
    ("plain_ms", "others"),
    [(9.0, {PLANNED: "planned", PLAIN: "plain"}), (20.0, {PLANNED: "planned"})],
)
def test_what_is_near_can_be_had_too(plain_ms, others):
    """As if it were kept: with a document of its own, which is replayed to the same network."""
    net, model, made, _ = planned(**{PLAIN: plain_ms, PLANNED: 8.0, LENT: 7.0})
    x = net.sample()
    assert [each.kept for each in made.runners_up] == list(others)
    for each in made.runners_up:
        document = plans.of(each, INT8, here(INT8, 1), "normal")
        assert document.kept == others[each.kept]
        assert_close(run(each.model, x), run(model, x))
        assert ops(plans.replay(model, document)) == ops(each.model) != ops(made.model)
        assert each.runners_up == ()


@pytest.mark.parametrize(("effort", "precisions"), [("low", ["int8"]), ("normal", ["float32", "int8"])])
def test_float32_is_planned_before_integers_but_at_low_effort(effort, precisions):
    asked = []

    def measure(files, target, options):
        asked.append(target.precision)
        return {label: Cost(10.0 - label.startswith(PLANNED)) for label in files}

    net = Net(1, 8, 4, 6, 6)
    net.conv("x", 8, 8, 3, 1, 1)
    plan_target(net.model(), INT8, CostTable(), effort=effort, measure=measure)
    assert list(dict.fromkeys(asked)) == precisions
