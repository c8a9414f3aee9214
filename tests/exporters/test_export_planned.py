"""Exports that are planned: what is measured, kept, written down, and applied again."""

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.counted import Counted
from support.graphs import Net

from tdedge.artifact import read_manifest
from tdedge.errors import UsageError
from tdedge.plan import CompressionPlan, load_plans, make_plan
from tdedge_exporters.export import export
from tdedge_exporters.planner.explain import diff
from tdedge_exporters.planner.plan import from_artifact
from tdedge_runtimes.errors import RuntimeFailed


@pytest.fixture
def net(tmp_path):
    """A 3-D network whose first layer has few channels."""
    net = Net(1, 4, 6, 20, 20)
    net.conv("x", 4, 4, 3, 5, 5, bias=True, name="a")
    net.add("Relu", "a", name="b")
    net.conv("b", 8, 4, 1, 3, 3, name="c")
    net.add("ReduceMean", "c", net.weight(array=np.array([2, 3, 4])), keepdims=0, name="y")
    ir.save(net.model(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_second_export_reuses_every_time(net, tmp_path):
    table, first, second = tmp_path / "costs.sqlite", Counted(), Counted()
    given = {"to": "onnxruntime", "effort": "low", "cost_table": table}
    one = export(net, tmp_path / "one", **given, measure=first)
    two = export(net, tmp_path / "two", **given, measure=second)
    assert first.trials > 10
    assert first.checks == ["onnxruntime"]
    assert (second.trials, second.checks) == (0, [])
    assert diff(one.plans["onnxruntime"], two.plans["onnxruntime"]) == []
    other = Counted()
    export(net, tmp_path / "three", **{**given, "threads": 2}, measure=other)
    assert other.trials == first.trials


def test_every_target_has_its_plan_in_the_artifact(net, tmp_path):
    measure = Counted()
    to = ("onnxruntime", "openvino", "openvino:float16", "tflite")
    result = export(net, tmp_path / "out", to=to, effort="low", cost_table=tmp_path / "c", measure=measure)
    document = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert list(document["targets"]) == list(result.plans) == list(to)
    assert from_artifact(document["targets"], "plan.json") == result.plans
    assert json.loads(json.dumps(result.to_json()))["plans"] == document["targets"]
    for entry in read_manifest(tmp_path / "out").targets:
        plan = result.plans[entry.target]
        assert entry.parity["passed"]
        assert (entry.plan.effort, entry.plan.threads, entry.plan.replayed) == ("low", 1, False)
        assert (entry.plan.kept, entry.plan.why) == (plan.kept, plan.why)
        assert (entry.plan.pieces, entry.plan.not_plain) == (len(plan.pieces), plan.not_plain)
        if entry.target in measure.checks:
            assert (entry.plan.kept, entry.plan.plain_ms > entry.plan.planned_ms) == ("planned", True)
    assert "onnxruntime" in measure.checks


def test_plan_that_lost_the_check_is_not_shipped(net, tmp_path):
    plain = export(net, tmp_path / "plain", to="onnxruntime")
    lost = export(
        net,
        tmp_path / "lost",
        to="onnxruntime",
        effort="low",
        cost_table=tmp_path / "c",
        measure=Counted(planned=99.0),
    )
    (entry,) = lost.manifest.targets
    assert entry.plan.kept == "plain"
    assert entry.plan.why.startswith("the planned network is not faster: 99.00 ms, plain ")
    assert entry.files == plain.manifest.targets[0].files
    assert plain.manifest.targets[0].plan is None
    assert (plain.plans, json.loads((tmp_path / "plain" / "plan.json").read_text())["targets"]) == ({}, {})


def test_replay_writes_the_same_files_without_measuring(net, tmp_path):
    rule = make_plan("tucker", ratio=0.5)
    given = {"to": "onnxruntime,openvino", "cost_table": tmp_path / "c"}
    first = export(net, tmp_path / "one", **given, plan=rule, effort="low", measure=Counted())
    compression, targets = load_plans(tmp_path / "one" / "plan.json")
    forms = from_artifact(targets, "plan.json")
    none = Counted()
    again = export(net, tmp_path / "two", **given, plan=compression, forms=forms, measure=none)
    assert (none.trials, none.checks) == (0, [])
    for before, after in zip(first.manifest.targets, again.manifest.targets, strict=True):
        assert after.files == before.files
        assert after.plan == before.plan.model_copy(update={"replayed": True})
    assert again.plans["onnxruntime"].replayed
    with pytest.raises(UsageError, match="was made for another network"):
        export(net, tmp_path / "three", **given, forms=forms, measure=none)
    assert not (tmp_path / "three").exists()


def test_target_without_a_plan_to_replay_is_measured(net, tmp_path):
    given = {"cost_table": tmp_path / "c", "effort": "low"}
    first = export(net, tmp_path / "one", to="onnxruntime", **given, measure=Counted())
    measure = Counted()
    both = export(net, tmp_path / "two", to="onnxruntime,tflite", **given, forms=first.plans, measure=measure)
    assert both.plans["onnxruntime"].replayed
    assert not both.plans["tflite"].replayed
    assert "onnxruntime" not in measure.checks


def test_plain_compression_plan_says_nothing_of_targets(tmp_path):
    make_plan("tucker", ratio=0.5).save(tmp_path / "plan.json")
    assert load_plans(tmp_path / "plan.json") == (CompressionPlan.load(tmp_path / "plan.json"), {})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"rewrites": []}, "schema_version: None; expected 1"),
        ({"rewrites": [], "schema_version": 1, "targets": []}, "targets: expected one plan per target"),
        (
            {"rewrites": [], "schema_version": 1, "compression": {"default": {}}},
            "compression: default.format",
        ),
        ([1], "plan"),
    ],
)
def test_plan_file_that_is_neither(tmp_path, content, words):
    (tmp_path / "plan.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"plan\.json: ") as raised:
        load_plans(tmp_path / "plan.json")
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("options", "words"),
    [({"effort": "extreme"}, "unknown effort 'extreme'"), ({"threads": 0}, "threads is 0")],
)
def test_wrong_options(net, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        export(net, tmp_path / "out", to="onnxruntime", **options)


def test_network_with_a_branch_at_run_time_is_left_as_it_came(tmp_path):
    sides = []
    for name, op in (("then", "Relu"), ("other", "Neg")):
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [1, 4, 4, 4])
        sides.append(helper.make_graph([helper.make_node(op, ["a"], [f"{name}_y"])], name, [], [out]))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "n_a"),
        helper.make_node("ReduceSum", ["a"], ["s"], "n_s", keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["cond"], "n_c"),
        helper.make_node("If", ["cond"], ["y"], "n_y", then_branch=sides[0], else_branch=sides[1]),
    ]
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 4, 4])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "net.onnx")
    measure = Counted()
    result = export(
        tmp_path / "net.onnx", tmp_path / "out", to="onnxruntime", effort="low",
        cost_table=tmp_path / "c", measure=measure,
    )  # fmt: skip
    (entry,) = result.manifest.targets
    assert (entry.plan.kept, entry.plan.pieces, measure.trials) == ("plain", 0, 0)
    assert entry.plan.why == "not planned: node 'n_y' (If) holds a graph of its own"
    again = export(tmp_path / "net.onnx", tmp_path / "again", to="onnxruntime", forms=result.plans)
    assert again.manifest.targets[0].files == entry.files


def test_cost_table_that_is_none(net, tmp_path):
    (tmp_path / "notes.txt").write_text("no table, but long enough to look at as one " * 20)
    for path in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "inside"):
        with pytest.raises(UsageError, match="is no usable cost table"):
            export(net, tmp_path / "out", to="onnxruntime", effort="low", cost_table=path, measure=Counted())


def test_cache_folder_that_cannot_be_written_does_not_matter(net, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    measure = Counted()
    export(net, tmp_path / "out", to="onnxruntime", effort="low", measure=measure)
    assert measure.trials > 0


def test_failed_measurement_is_a_warning(net, tmp_path):
    def measure(files, target, options):
        raise RuntimeFailed("the worker took longer than 1 s")

    result = export(
        net, tmp_path / "out", to="onnxruntime", effort="low", cost_table=tmp_path / "c", measure=measure
    )
    reason = "not planned, measuring failed: the worker took longer than 1 s"
    assert result.manifest.targets[0].plan.why == reason
    assert result.manifest.warnings == [f"onnxruntime is {reason}"]


def test_measured_in_onnx_runtime_from_end_to_end(net, tmp_path):
    """Real trials and a real check, once; then the same plan again from the artifact."""
    given = {"to": "onnxruntime", "input_sets": 1, "cost_table": tmp_path / "costs.sqlite"}
    result = export(net, tmp_path / "out", **given, effort="low")
    (entry,) = result.manifest.targets
    plan = result.plans["onnxruntime"]
    assert entry.parity["passed"]
    assert any(piece.cost_ms is not None and piece.rejected for piece in plan.pieces)
    assert plan.kept == ("planned" if plan.not_plain else "plain")
    if plan.check is not None:
        assert (plan.check.planned_ms < plan.check.plain_ms) == (plan.kept == "planned")
    targets = load_plans(tmp_path / "out" / "plan.json")[1]
    again = export(net, tmp_path / "again", **given, forms=from_artifact(targets, "plan.json"))
    assert again.manifest.targets[0].files == entry.files
