"""Blocked kernels of OpenVINO: offered where they exist, timed, kept where faster, exact."""

import json
import platform

import numpy as np
import onnx_ir as ir
import openvino
import pytest
from support.graphs import Net
from support.recorded import OPSET, Recording, recorded, units_of

from tdedge.errors import UsageError
from tdedge_exporters import openvino as room
from tdedge_exporters.export import export
from tdedge_exporters.kernels import BLOCKED, has_blocked, kernels_of, suits_blocked, with_kernels
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner import plan as plans
from tdedge_exporters.planner.candidates import Scope
from tdedge_exporters.planner.checks import IN_BLOCKED, PLAIN, PLANNED, structure_sha256
from tdedge_exporters.planner.costs import Cost, CostTable, Place
from tdedge_exporters.planner.explain import diff
from tdedge_exporters.planner.plan import from_artifact
from tdedge_exporters.planner.planner import here, plan, plan_target
from tdedge_exporters.planner.pricing import Pricing
from tdedge_exporters.planner.remote import Remote
from tdedge_exporters.planner.roofline import Roofline
from tdedge_runtimes.environment import simd_lanes
from tdedge_runtimes.measure import MeasureOptions

OPENVINO = Target("openvino")
IN_PLAIN, IN_PLANNED = IN_BLOCKED[PLAIN], IN_BLOCKED[PLANNED]
HAS_BLOCKED = has_blocked(OPENVINO, platform.machine(), simd_lanes())


def chain(channels=3):
    """A factor with taps, a pointwise one, a depthwise one; the link between the first two is linear."""
    net = Net(1, channels, 20, 20)
    a = net.conv(net.conv("x", 16, channels, 3, 3, pads=1), 32, 16, 1, 1, bias=True)
    net.conv(net.add("Relu", a), 32, 32, 3, 3, pads=1, strides=[2, 2], groups=32)
    return net


def kernels(path):
    """Names of the kernels that convolutions are executed by."""
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    return [about["primitiveType"].value for about in found if about["layerType"].value == "Convolution"]


def outputs(path, x):
    (result,) = (
        openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x).values()
    )
    return result


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_every_convolution_of_the_file_is_executed_by_them(tmp_path, precision):
    net = chain()
    model = net.model()
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    before = room.lower(model, tmp_path / "a", precision)
    after = room.lower(with_kernels(model, BLOCKED), tmp_path / "b", precision)
    assert after.entry.read_text().count("primitives_priority") == 3
    assert "primitives_priority" not in before.entry.read_text()
    assert before.files[1].read_bytes() == after.files[1].read_bytes()
    x = net.sample()
    a, b = outputs(before.entry, x), outputs(after.entry, x)
    assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()
    assert len(kernels(after.entry)) == 3
    if HAS_BLOCKED:
        assert all(name.startswith(("jit_avx512", "jit_avx2")) for name in kernels(after.entry))


def test_the_choice_leaves_the_network_as_it_is():
    model = chain().model()
    made = with_kernels(model, BLOCKED)
    assert (kernels_of(model), kernels_of(made)) == ("", BLOCKED)
    assert made.graph is model.graph
    assert BLOCKED not in str(dict(made.metadata_props))  # no file can bring it along
    assert structure_sha256(made) != structure_sha256(model)


@pytest.mark.parametrize(
    ("target", "machine", "lanes", "has"),
    [
        ("openvino", "x86_64", 16, True),
        ("openvino", "AMD64", 8, True),
        ("openvino:float16", "x86_64", 16, True),
        ("openvino", "x86_64", 4, False),
        ("openvino", "aarch64", 4, False),
        ("openvino:int8", "x86_64", 16, False),
        ("openvino:bfloat16", "x86_64", 16, False),
        ("onnxruntime", "x86_64", 16, True),
        ("onnxruntime", "aarch64", 4, False),
        ("onnxruntime:int8", "x86_64", 16, False),
        ("tflite", "x86_64", 16, False),
    ],
)
def test_where_they_are(target, machine, lanes, has):
    assert has_blocked(Target.parse(target), machine, lanes) is has
    device = Remote("ssh://board", {"machine": machine, "simd_lanes": lanes}, dict)
    assert device.has_blocked(Target.parse(target)) is has


def planned(ms, **times_ms):
    """A plan of :func:`chain` by these costs of candidates, whose networks take ``times_ms``."""
    net, scope = chain(), Scope()
    table = recorded(units_of(net), scope, ms)
    asked = []

    def check(models):
        asked.append(list(models))
        return {label: Cost(times_ms[label]) for label in models}

    place = Place("openvino", "1", "float32", 1, "recorded")
    prices = Pricing(CostTable(), place, OPENVINO, Recording(table.__getitem__), MeasureOptions(), OPSET)
    model = net.model()
    return model, plan(model, prices, scope, check, blocked=True), asked


def composed(candidate):
    return 0.5 if len(candidate.units) > 1 else 1.0


def as_it_came(candidate):
    return 1.0 if candidate.is_plain else 9.0 * len(candidate.units)


def through_matmul(candidate):
    return 0.1 if str(candidate.gives) == str(candidate.reads) == "last" else 3.0 * len(candidate.units)


def document(made):
    return plans.of(made, OPENVINO, here(OPENVINO, 1), "normal")


def test_the_network_as_it_came_is_timed_in_them_though_no_form_is_faster():
    model, made, asked = planned(as_it_came, **{PLAIN: 9.0, IN_PLAIN: 8.0})
    assert asked == [[PLAIN, IN_PLAIN]]
    assert kernels_of(made.model) == BLOCKED and made.model.graph is model.graph
    plan = document(made)
    assert (plan.kept, plan.kernels, plan.not_plain) == ("planned", BLOCKED, 0)
    assert (plan.check.plain_ms, plan.check.planned_ms) == (9.0, 8.0)
    assert plan.why == "the network as it came is faster in blocked kernels: 8.00 ms, plain 9.00 ms"


@pytest.mark.parametrize(
    ("times_ms", "kernels", "not_plain", "why"),
    [
        (
            (9.0, 8.0, 8.5, 7.0),
            BLOCKED,
            1,
            "the planned network is faster in blocked kernels: 7.00 ms, plain 9.00 ms, "
            "in the forms that cost least 8.00 ms, in blocked kernels 8.50 ms",
        ),
        (
            (9.0, 8.0, 7.5, 8.5),
            BLOCKED,
            0,
            "the network as it came is faster in blocked kernels: 7.50 ms, plain 9.00 ms, "
            "in the forms that cost least 8.00 ms, planned, in blocked kernels 8.50 ms",
        ),
        (
            (9.0, 7.0, 8.5, 8.0),
            "",
            1,
            "the planned network is faster: 7.00 ms, plain 9.00 ms, "
            "in blocked kernels 8.50 ms, planned, in blocked kernels 8.00 ms",
        ),
        (
            (9.0, 9.1, 9.5, 9.6),
            "",
            0,
            "the planned network is not faster: 9.10 ms, plain 9.00 ms, "
            "in blocked kernels 9.50 ms, planned, in blocked kernels 9.60 ms",
        ),
    ],
)
def test_the_fastest_of_four_is_kept_told_and_replayed(times_ms, kernels, not_plain, why):
    labels = (PLAIN, PLANNED, IN_PLAIN, IN_PLANNED)
    model, made, asked = planned(composed, **dict(zip(labels, times_ms, strict=True)))
    assert asked == [list(labels)]
    assert kernels_of(made.model) == made.kernels == kernels
    plan = plans.from_json(document(made).to_json())
    assert (plan.kernels, plan.not_plain, plan.why) == (kernels, not_plain, why)
    assert plan.kept == ("planned" if kernels or not_plain else "plain")
    again = plans.replay(model, plan)
    assert kernels_of(again) == kernels
    assert structure_sha256(again) == structure_sha256(made.model)


def test_forms_that_store_values_otherwise_are_not_tried_in_them():
    _, made, asked = planned(through_matmul, **{PLAIN: 9.0, PLANNED: 8.0, IN_PLAIN: 8.5})
    assert asked == [[PLAIN, PLANNED, IN_PLAIN]]
    assert made.kernels == "" and made.conversions


@pytest.mark.parametrize(("channels", "offered"), [(1, True), (3, True), (4, False), (16, False)])
def test_networks_that_read_more_than_three_channels_are_left_alone(channels, offered):
    assert suits_blocked(chain(channels).model(), OPENVINO, is_native=True) is offered
    assert not suits_blocked(chain(channels).model(), OPENVINO, is_native=False)


def test_plans_that_differ_in_kernels():
    _, first, _ = planned(as_it_came, **{PLAIN: 9.0, IN_PLAIN: 8.0})
    _, second, _ = planned(as_it_came, **{PLAIN: 9.0, IN_PLAIN: 9.0})
    assert diff(document(second), document(first)) == ["kernels: any -> blocked", "kept: plain -> planned"]


def test_an_unknown_family_in_a_document_is_named():
    content = document(planned(as_it_came, **{PLAIN: 9.0, IN_PLAIN: 8.0})[1]).to_json()
    with pytest.raises(UsageError, match="kernels"):
        plans.from_json(content | {"kernels": "fast"})


def test_nothing_is_predicted_for_them():
    made = plan_target(chain().model(), OPENVINO, CostTable(), roofline=Roofline(100.0, 10.0))
    assert IN_PLAIN not in made.checked_ms and not made.kernels


def test_they_are_really_timed_on_this_machine():
    def measure(files, target, options):
        return {label: Cost(1.0 if label == IN_PLAIN else 2.0) for label in files}

    made = plan_target(chain().model(), OPENVINO, CostTable(), effort="low", measure=measure)
    assert (made.kernels == BLOCKED) is HAS_BLOCKED
    assert (IN_PLAIN in made.checked_ms) is HAS_BLOCKED


def test_an_export_ships_them_verified_and_repeats_them_from_its_plan(tmp_path):
    def measure(files, target, options):
        return {label: Cost(1.0 if label == IN_PLAIN else 2.0) for label in files}

    ir.save(chain().model(), tmp_path / "net.onnx")
    given = {"to": "openvino", "effort": "low", "cost_table": tmp_path / "costs", "measure": measure}
    first = export(tmp_path / "net.onnx", tmp_path / "one", **given)
    forms = from_artifact(json.loads((tmp_path / "one" / "plan.json").read_text())["targets"], "plan.json")
    again = export(tmp_path / "net.onnx", tmp_path / "two", to="openvino", forms=forms)
    for made in (first, again):
        (entry,) = made.manifest.targets
        assert entry.parity["passed"]
        assert entry.plan.kernels == made.plans["openvino"].kernels == (BLOCKED if HAS_BLOCKED else "")
        asks = "primitives_priority" in (made.folder / entry.entry).read_text()
        assert asks is HAS_BLOCKED
