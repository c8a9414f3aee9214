"""Integer targets: planned by the times of integers, in forms with integer kernels, and written again."""

import onnx_ir as ir
import pytest
from support.eight_bits import clip, samples
from support.graphs import Net, assert_close, ops, run

from tdedge.errors import UsageError
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner import plan as plans
from tdedge_exporters.planner.candidates import candidates
from tdedge_exporters.planner.costs import Cost, CostTable
from tdedge_exporters.planner.efforts import FLOAT_FORMS, settings
from tdedge_exporters.planner.planner import here, plan_target
from tdedge_exporters.planner.units import network
from tdedge_exporters.quantize.quantize import quantize

INT8 = Target("onnxruntime", "int8")


def residual_clip():
    net = Net(1, 8, 4, 6, 6)
    a = net.conv("x", 8, 8, 3, 3, 3, pads=1, bias=True)
    b = net.conv(net.add("Relu", a), 8, 8, 3, 1, 1, pads=[1, 0, 0, 1, 0, 0], groups=8)
    net.add("Relu", net.add("Add", b, a))
    return net


def favours_frames(files, target, options):
    """Files of more 2-D convolutions are faster: frames win everywhere."""
    costs = {}
    for label, path in files.items():
        nodes = [node for node in ir.load(path).graph if node.op_type == "Conv"]
        flat = sum(len(node.inputs[1].shape) == 4 for node in nodes)
        costs[label] = Cost(1.0 if label == "planned" else 10.0 - flat)
    return costs


def test_a_plan_for_integers_is_exact_and_can_be_replayed():
    net = residual_clip()
    model = net.model()
    planned = plan_target(model, INT8, CostTable(), effort="low", measure=favours_frames)
    assert any(unit.nodes[-1].op_type == "Relu" for c in planned.choice.chosen for unit in c.units)
    assert not all(candidate.is_plain for candidate in planned.choice.chosen)
    x = net.sample(1)
    assert_close(run(planned.model, x), run(model, x))
    document = plans.of(planned, INT8, here(INT8, 1), "low")
    assert document.target == "onnxruntime:int8"
    assert ops(plans.replay(model, document)) == ops(planned.model)
    made = quantize(planned.model, samples(planned.model, 2))
    assert made.report.products == sum(node.op_type == "Conv" for node in planned.model.graph)


def test_its_units_are_those_of_integers():
    model = residual_clip().model()
    planned = plan_target(model, INT8, CostTable(), effort="low", measure=favours_frames)
    document = plans.of(planned, INT8, here(INT8, 1), "low")
    with pytest.raises(UsageError, match="another network"):
        plans.replay(model, document.model_copy(update={"target": "onnxruntime"}))


@pytest.mark.parametrize("effort", ["low", "normal", "max"])
def test_products_from_the_left_are_offered_to_floats_alone(effort):
    net = network(clip())

    def forms(target):
        return {each.form for each in candidates(net, settings(effort, target).scope)}

    assert forms(Target("onnxruntime")) & FLOAT_FORMS
    assert not forms(INT8) & FLOAT_FORMS


def forms_of(name, target):
    """Forms of one product of :func:`residual_clip`, alone."""
    scope = settings("normal", target).scope
    found = candidates(network(residual_clip().model(), integers=target.calibrated), scope)
    return {each.form for each in found if each.units[-1].nodes[0].name == name}


def test_products_are_added_up_on_integers_only_where_none_computes_the_sum():
    dense, depthwise = (n.name for n in residual_clip().model().graph if n.op_type == "Conv")
    sums, joined = {"frames.sum", "apart.sum", "apart.minimal2"}, {"frames.joined", "apart.joined"}
    floats = Target("onnxruntime")
    assert forms_of(dense, floats) >= sums | joined
    assert forms_of(dense, INT8) >= joined
    assert not forms_of(dense, INT8) & sums
    assert forms_of(depthwise, INT8) >= {"frames.sum", "apart.sum"}
    assert forms_of(depthwise, floats) & joined == set()


@pytest.mark.parametrize("target", ["openvino:float16", "openvino:bfloat16", "tflite:float16", "tflite:int8"])
def test_minimal_filtering_takes_float32(target):
    net = Net(1, 3, 8, 9, 9)
    net.conv("x", 4, 3, 3, 3, 3, pads=1)
    found = network(net.model())

    def forms(target):
        return {each.form for each in candidates(found, settings("max", target).scope)}

    minimal = {form for form in forms(Target("onnxruntime")) if "minimal" in form}
    assert minimal >= {"apart.minimal2", "apart.minimal4", "packed.2x2x2.minimal"}
    assert not {form for form in forms(Target.parse(target)) if "minimal" in form}


@pytest.mark.parametrize("name", ["n_u", "n_v"])
def test_a_product_of_one_frame_has_nothing_to_add(name):
    found = candidates(network(clip(), integers=True), settings("normal", INT8).scope)
    assert "apart.sum" in {each.form for each in found if each.units[-1].nodes[0].name == name}


def test_a_plan_of_sums_can_still_be_replayed():
    net = Net(1, 8, 4, 6, 6)
    net.conv("x", 8, 8, 3, 3, 3, pads=1, name="y")
    model = net.model()
    planned = plan_target(model, INT8, CostTable(), effort="low", measure=favours_frames)
    document = plans.of(planned, INT8, here(INT8, 1), "low")
    (piece,) = document.pieces
    sums = {"form": "frames.sum", "reads": "frames", "gives": "frames", "plain": False, "key": ""}
    document = document.model_copy(update={"pieces": (piece.model_copy(update=sums),)})
    replayed = plans.replay(model, document)
    assert (ops(replayed)["Conv"], ops(replayed)["Add"]) == (3, 2)
    x = net.sample(1)
    assert_close(run(replayed, x), run(model, x))


def test_times_of_integers_are_kept_apart():
    table = CostTable()
    net = residual_clip().model()
    for target in (INT8, Target("onnxruntime")):
        plan_target(net, target, table, effort="low", measure=favours_frames)
    assert {row["place"]["precision"] for row in table.rows()} == {"int8", "float32"}
