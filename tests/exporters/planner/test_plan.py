"""Plans as documents: written, read back, applied again, compared, put into words."""

import json

import numpy as np
import onnx_ir as ir
import pytest
from support.counted import Counted
from support.graphs import Net, assert_close, ops, run

from tdedge.errors import UnsupportedError, UsageError
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner import plan as plans
from tdedge_exporters.planner.costs import CostTable, Place
from tdedge_exporters.planner.explain import diff, explain
from tdedge_exporters.planner.planner import plan_target
from tdedge_exporters.planner.units import network

ORT = Target("onnxruntime")
PLACE = Place("onnxruntime", "1.0", "float32", 1, "a machine")


def video(seed: int = 0, name: str = "n_y") -> ir.Model:
    """Two factors of a chain, a pool, another factor; 3-D."""
    net = Net(1, 4, 6, 12, 12, seed=seed)
    net.conv("x", 4, 4, 3, 3, 3, bias=True, name="a")
    net.conv("a", 6, 4, 1, 1, 1, bias=True, name="b")
    net.add("Relu", "b", name="c")
    net.add("MaxPool", "c", kernel_shape=[2, 2, 2], strides=[2, 2, 2], name="d")
    net.conv("d", 8, 6, 1, 3, 3, name="e")
    net.add("Flatten", "e", name="y")
    model = net.model()
    next(node for node in model.graph if node.name == "n_y").name = name
    return model


def made(measure=None, model: ir.Model | None = None):
    """(network, what the planner made of it, its plan)."""
    model = model or video()
    planned = plan_target(model, ORT, CostTable(), effort="low", measure=measure or Counted())
    return model, planned, plans.of(planned, ORT, PLACE, "low")


@pytest.fixture(scope="module")
def faster():
    """A network whose 2-D forms are far cheaper."""
    return made()


def test_every_part_is_in_the_plan_once_with_what_stood_against_it(faster):
    model, planned, plan = faster
    names = [name for piece in plan.pieces for name in piece.units]
    assert sorted(names) == sorted(unit.name for unit in network(model).units)
    assert (plan.kept, plan.check.plain_ms > plan.check.planned_ms) == ("planned", True)
    assert plan.not_plain == sum(not candidate.is_plain for candidate in planned.choice.chosen) > 0
    assert not any(len(node.inputs[0].shape) == 5 for node in planned.model.graph if node.op_type == "Conv")
    rejected = [row for piece in plan.pieces for row in piece.rejected]
    assert len(rejected) + len(plan.pieces) == len(planned.options)
    plain = next(row for row in rejected if row.units == ("n_a",) and row.plain)
    assert plain.gap_ms > 5
    assert plain.reason == f"slower by {plain.gap_ms:.3f} ms in place"
    flatten = next(piece for piece in plan.pieces if piece.units == ("n_y",))
    assert (flatten.cost_ms, flatten.kind, flatten.rejected) == (None, None, ())
    assert {piece.kind for piece in plan.pieces if piece.rejected} == {"measured"}


def test_json_and_back(faster):
    plan = faster[2]
    document = json.loads(json.dumps(plan.to_json()))
    assert document["schema_version"] == 1
    assert plans.from_json(document) == plan
    assert plans.from_artifact({"onnxruntime": document}, "plan.json") == {"onnxruntime": plan}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kept": "best"}, "kept: input should be 'planned' or 'plain'"),
        ({"pieces": [{"units": []}]}, "pieces.0.units: "),
        ({"pieces": [{"units": ["a"], "form": "conv", "reads": "sideways", "gives": "native"}]}, "sideways"),
        ({"schema_version": 2}, "schema_version: "),
        ({"colour": 1}, "colour: "),
        ({"target": "openvino"}, "'openvino'; expected 'onnxruntime'"),
    ],
)
def test_mistakes_in_a_document_are_named(faster, change, words):
    document = faster[2].to_json() | change
    with pytest.raises(UsageError, match=r"plan\.json: targets\.onnxruntime\.") as raised:
        plans.from_artifact({"onnxruntime": document}, "plan.json")
    assert words in raised.value.message
    assert "\n" not in raised.value.message


def test_document_that_is_no_object():
    with pytest.raises(UsageError, match="plan: "):
        plans.from_json([1])


def test_replay_is_the_planned_network_again(faster):
    model, planned, plan = faster
    again = plans.replay(video(), plan)
    assert ir.to_proto(again).SerializeToString() == ir.to_proto(planned.model).SerializeToString()
    x = np.random.default_rng(1).standard_normal((1, 4, 6, 12, 12)).astype(np.float32)
    assert_close(run(again, x), run(model, x))


def test_replay_takes_over_other_weights(faster):
    other = video(seed=7)
    again = plans.replay(other, faster[2])
    assert ops(again) == ops(faster[1].model)
    x = np.random.default_rng(1).standard_normal((1, 4, 6, 12, 12)).astype(np.float32)
    assert_close(run(again, x), run(other, x))


def _edited(plan, index, **change):
    pieces = list(plan.pieces)
    pieces[index] = pieces[index].model_copy(update=change)
    return plan.model_copy(update={"pieces": tuple(pieces)})


def test_replay_on_another_network_is_refused(faster):
    plan = faster[2]
    with pytest.raises(UsageError, match="it names 'n_y', which is not in this one"):
        plans.replay(video(name="other"), plan)
    with pytest.raises(UsageError, match=r"cannot be executed as 'conv9' .* plan it again"):
        plans.replay(video(), _edited(plan, 0, form="conv9"))
    with pytest.raises(UsageError, match="does not say how to execute"):
        plans.replay(video(), plan.model_copy(update={"pieces": plan.pieces[1:]}))
    twice = plans.Piece(units=("n_a",), form="plain.factor", reads="native", gives="native", plain=True)
    with pytest.raises(UsageError, match="executes 'n_a' twice"):
        plans.replay(video(), plan.model_copy(update={"pieces": (*plan.pieces, twice)}))


def test_plan_that_lost_the_check_says_so_and_replays_as_it_came():
    model, planned, plan = made(Counted(planned=1e3))
    assert planned.model is model
    assert (plan.kept, plan.not_plain, plan.conversions) == ("plain", 0, ())
    assert plan.why.startswith("the planned network is not faster: 1000.00 ms, plain ")
    reasons = [row.reason for piece in plan.pieces for row in piece.rejected]
    assert any("the whole network was not faster" in reason for reason in reasons)
    assert not any(row.plain for piece in plan.pieces for row in piece.rejected)
    assert plans.replay(model, plan) is model
    with pytest.raises(UsageError, match="was made for another network"):
        plans.replay(video(name="other"), plan)


def test_planned_network_that_the_target_cannot_run_is_not_kept():
    counted = Counted()

    def measure(files, target, options):
        if "planned" in files:
            raise UnsupportedError("node 'n_a' has no kernel")
        return counted(files, target, options)

    model, planned, plan = made(measure)
    assert planned.model is model
    assert (plan.kept, plan.check) == ("plain", None)
    assert plan.why == "the target cannot run the planned network"


def test_form_that_is_cheaper_alone_loses_by_its_conversions():
    net = Net(1, 4, 6, 12, 12)
    net.conv("x", 4, 4, 3, 3, 3, name="a")
    net.add("Sin", "a", name="y")
    _, _, plan = made(Counted(conv3d=3.5, transpose=500.0), net.model())
    assert (plan.kept, plan.check, plan.why) == ("plain", None, "no other form of any part was faster")
    alone = [row for row in plan.pieces[0].rejected if row.reads == row.gives == "frames"]
    assert alone
    cheaper = [row for row in alone if row.gap_ms < 0]
    assert cheaper
    assert all(row.reason.endswith("but the conversions it asks for cost more") for row in cheaper)


def test_explained_row_by_row(faster):
    plan = faster[2]
    rows = explain(plan)
    units = {name for piece in plan.pieces for name in piece.units if piece.rejected}
    assert "n_y" not in units
    assert sum(row.considered for row in rows) == sum(
        1 + len(piece.rejected) for piece in plan.pieces if piece.rejected
    )
    assert all(row.measured == row.considered for row in rows)
    assert rows[0].part.startswith("n_a")
    assert rows[0].plain_ms > rows[0].chosen_ms
    assert rows[0].why.startswith("next best ") and "slower by" in rows[0].why
    assert [line for row in rows for line in row.chosen if line.startswith("n_a")]


def test_difference_between_two_plans(faster):
    plan = faster[2]
    assert diff(plan, plan) == []
    lost = made(Counted(planned=1e3))[2].model_copy(update={"threads": 2})
    lines = diff(plan, lost)
    assert lines[:2] == ["threads: 1 -> 2", "kept: planned -> plain"]
    assert any(line.startswith("- n_a") for line in lines)
    assert any(line.startswith("+ n_a: plain.factor, ") and line.endswith(" ms") for line in lines)
    assert [line[2:] for line in diff(lost, plan)[2:] if line.startswith("+")] == [
        line[2:] for line in lines if line.startswith("-")
    ]


def test_network_with_a_graph_inside_a_node_is_refused(faster):
    model = video()
    node = next(iter(model.graph))
    inner = ir.Graph([], [], nodes=[], name="inner")
    node.attributes["body"] = ir.AttrGraph("body", inner)
    with pytest.raises(UnsupportedError, match=r"cannot be planned: node 'n_a' \(Conv\) holds a graph"):
        network(model)
    with pytest.raises(UsageError, match="made for another network: node 'n_a'"):
        plans.replay(model, faster[2])
