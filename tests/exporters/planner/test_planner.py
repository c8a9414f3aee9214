"""Planning from recorded tables: the choice, the check, and that the slower network is never kept."""

import pytest
from support.graphs import Net, assert_close, ops, run
from support.recorded import Recording, pricing, recorded, units_of

from tdedge.errors import UsageError
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.candidates import Scope
from tdedge_exporters.planner.costs import Cost, CostTable
from tdedge_exporters.planner.efforts import settings
from tdedge_exporters.planner.planner import plan, plan_target

SCOPE = Scope()


def clip_net():
    net = Net(1, 8, 4, 6, 6)
    a = net.conv("x", 8, 8, 1, 1, 1)
    net.conv(net.add("Softplus", a), 8, 8, 3, 3, 3, pads=1)
    return net


def costs(candidate) -> float:
    if candidate.form.startswith("frames") or (candidate.form == "map" and str(candidate.reads) == "frames"):
        return 0.5
    return 2.0 if len(candidate.units) == 1 else 9.0


def planned(checked, ms=costs, net=None):
    """A plan of :func:`clip_net` where the whole networks take ``checked`` milliseconds."""
    net = net or clip_net()
    table = recorded(units_of(net), SCOPE, ms)
    measure = Recording(lambda sha256: table[sha256])
    model = net.model()
    asked = []

    def check(models):
        asked.append(list(models))
        return {label: Cost(checked[label]) for label in models}

    result = plan(model, pricing(CostTable(), measure), SCOPE, check)
    return net, model, result, asked


def test_faster_network_is_kept():
    net, model, result, asked = planned({"plain": 3.0, "planned": 2.0})
    assert asked == [["plain", "planned"]]
    assert [each.form for each in result.choice.chosen][:2] == ["frames.direct", "map"]
    assert result.choice is result.searched
    assert result.choice.cost_ms == pytest.approx(3 * 0.5 + 2 * 0.25, rel=2e-3)
    assert {(str(a), str(b), ms) for _, a, b, ms in result.conversions} == {
        ("native", "frames", 0.25),
        ("frames", "native", 0.25),
    }
    assert ops(result.model)["Transpose"] == 2
    x = net.sample()
    assert_close(run(result.model, x), run(model, x))


@pytest.mark.parametrize("ms", [2.98, 3.0, 3.1, 30.0])
def test_slower_network_never_is(ms):
    _, model, result, _ = planned({"plain": 3.0, "planned": ms})
    assert result.model is model
    assert all(each.is_plain for each in result.choice.chosen)
    assert not all(each.is_plain for each in result.searched.chosen)
    assert result.checked_ms["planned"].median_ms == ms


def test_nothing_faster_needs_no_check():
    _, model, result, asked = planned({}, lambda candidate: 1.0 if candidate.is_plain else 5.0)
    assert result.model is model
    assert asked == []
    assert result.checked_ms == {}


def test_options_tell_what_every_candidate_cost():
    _, _, result, _ = planned({"plain": 3.0, "planned": 2.0})
    assert [(str(c), ms) for c, ms in result.options] == [
        (str(c), pytest.approx(costs(c))) for c, _ in result.options
    ]


def test_same_table_same_plan():
    first, second = (planned({"plain": 3.0, "planned": 2.0})[2] for _ in range(2))
    assert [str(each) for each in first.choice.chosen] == [str(each) for each in second.choice.chosen]


def test_units_without_choice_are_not_timed():
    net = Net(1, 4, 6, 6)
    net.add("GlobalAveragePool", net.add("MaxPool", "x", kernel_shape=[2, 2]))
    _, model, result, _ = planned({}, net=net)
    assert result.model is model
    assert [ms for _, ms in result.options] == [0.0, 0.0]


def test_unknown_effort():
    with pytest.raises(UsageError, match="unknown effort 'hard'; expected one of none, low, normal, max"):
        plan_target(clip_net().model(), Target("onnxruntime"), CostTable(), effort="hard")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "tflite"])
def test_more_effort_tries_no_less(runtime):
    low, normal, most = (settings(effort, Target(runtime)) for effort in ("low", "normal", "max"))
    for less, more in ((low, normal), (normal, most)):
        assert set(less.scope.layouts) <= set(more.scope.layouts)
        assert less.scope.packings <= more.scope.packings
        assert less.scope.waste <= more.scope.waste
        assert less.scope.pad_ranks <= more.scope.pad_ranks
        assert less.trial.min_blocks <= more.trial.min_blocks
        assert less.check.min_blocks <= more.check.min_blocks


def test_threads_reach_both_kinds_of_timing():
    chosen = settings("low", Target("onnxruntime"), threads=2)
    assert (chosen.trial.threads, chosen.check.threads) == (2, 2)
