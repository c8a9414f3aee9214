"""Sums in ONNX Runtime's blocks of channels: what is rewritten, equal, kept, shipped."""

import platform
from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from support.graphs import Net, assert_close, ops, run
from support.recorded import OPSET, PLACE, TARGET, Recording, recorded, units_of

from tdedge_exporters.blocked_sums import in_blocks, suits_blocks
from tdedge_exporters.export import export
from tdedge_exporters.kernels import BLOCKED, has_blocked, kernels_of, with_kernels
from tdedge_exporters.lowering import Options
from tdedge_exporters.onnxruntime import lower
from tdedge_exporters.planner import plan as plans
from tdedge_exporters.planner.candidates import Scope
from tdedge_exporters.planner.checks import IN_BLOCKED, PLAIN, PLANNED, structure_sha256
from tdedge_exporters.planner.costs import Cost, CostTable
from tdedge_exporters.planner.planner import here, plan
from tdedge_exporters.planner.pricing import Pricing
from tdedge_runtimes.environment import simd_lanes
from tdedge_runtimes.measure import MeasureOptions

IN_PLANNED = IN_BLOCKED[PLANNED]
HAS_BLOCKED = has_blocked(TARGET, platform.machine(), simd_lanes())


def mixed():
    """Differences and products with a number of whole blocks, and of other tensors."""
    net = Net(1, 16, 7, 8)
    a = net.conv("x", 32, 16, 3, 3, pads=1, name="a")
    b = net.add("Relu", net.conv("x", 32, 16, 1, 1, bias=True), name="b")
    half = net.weight(array=np.float32(0.5))
    c = net.add("Sub", net.add("Sigmoid", net.add("Mul", half, b)), net.add("Relu", a), name="c")
    d = net.add("Sub", net.add("Relu", c), net.add("Relu", net.add("Mul", c, half)), name="d")
    narrow = net.add("Relu", net.conv(d, 12, 32, 1, 1))
    e = net.add("Sub", narrow, net.add("Sigmoid", net.add("Mul", narrow, half)), name="e")
    wide = net.conv(e, 16, 12, 1, 1, name="wide")
    net.add("Sub", net.add("Mul", wide, net.weight(1, 16, 1, 1)), net.weight(1, 16, 7, 8), name="y")
    return net


def test_whole_blocks_are_rewritten_and_nothing_else():
    net = mixed()
    model, x = net.model("y", "e"), net.sample(1)
    before, expected = ops(model), run(model, x)
    assert suits_blocks(model)
    made = in_blocks(model)
    assert ops(model) == before  # a copy
    assert_close(run(made, x), expected, 1e-6)
    after = ops(made)
    # Two products and two differences became depthwise convolutions; narrow tensors, channels' weights and
    # constants stay.
    assert (after["Conv"], after["Add"]) == (before["Conv"] + 4, before.get("Add", 0) + 2)
    assert (after["Mul"], after["Sub"]) == (before["Mul"] - 2, before["Sub"] - 2)
    assert not suits_blocks(made)
    depthwise = [node for node in made.graph if node.op_type == "Conv" and node.attributes["group"].value > 1]
    assert [node.attributes["group"].value for node in depthwise] == [32] * 4
    assert len({node.inputs[1] for node in depthwise}) == 2  # 0.5 and -1, once each
    assert [value.name for value in made.graph.outputs] == ["y", "e"]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 24, 6, 6), np.float32), ((1, 16, 6), np.float32), ((1, 16, 4, 4, 4), np.float32),
     ((1, 16, 6, 6), np.float64), ((1, 16, 6, 6), np.float16)],
)  # fmt: skip
def test_other_shapes_and_types_are_left(shape, dtype):
    net = Net(*shape, dtype=dtype)
    net.add("Sub", net.add("Mul", "x", net.weight(array=np.float32(3))), net.add("Relu", "x"))
    assert not suits_blocks(net.model())
    assert ops(in_blocks(net.model())) == ops(net.model())


def test_a_difference_that_broadcasts_is_left():
    net = Net(1, 16, 6, 6)
    net.add("Sub", "x", net.add("GlobalAveragePool", "x"))
    assert not suits_blocks(net.model())


@pytest.mark.parametrize("batch", [1, 3])
def test_differences_of_the_input_and_of_a_batch(batch):
    net = Net(batch, 16, 6, 6)
    net.add("Sub", "x", net.add("Relu", "x"))
    made = in_blocks(net.model())
    assert "Sub" not in ops(made)
    x = net.sample()
    assert_close(run(made, x), run(net.model(), x), 1e-6)


def clip():
    """A Tucker chain on a clip: its core has three time taps."""
    net = Net(1, 48, 8, 9, 10)
    first = net.conv("x", 16, 48, 1, 1, 1, name="first")
    core = net.conv(first, 16, 16, 3, 3, 3, pads=1, name="core")
    net.add("Relu", net.conv(core, 48, 16, 1, 1, 1, bias=True, name="last"), name="y")
    return net


def filtered(candidate):
    """Recorded costs by which frames lie apart and the core is filtered with few products."""
    if len(candidate.units) > 1:
        return 9.0
    unit = candidate.units[0]
    best = "apart.minimal4" if unit.name.endswith("core") else "apart.sum"
    return 0.1 if candidate.form in (best, "map") and "apart" in str(candidate.gives) else 1.0


def planned(**times_ms):
    """The clip's plan by those costs, whose whole networks take ``times_ms``."""
    scope, model = Scope(), clip().model()
    table = recorded(units_of(clip()), scope, filtered)
    asked = []

    def check(models):
        asked.append(list(models))
        return {label: Cost(times_ms[label]) for label in models}

    prices = Pricing(CostTable(), PLACE, TARGET, Recording(table.__getitem__), MeasureOptions(), OPSET)
    return model, plan(model, prices, scope, check, blocked=True), asked


FASTER = {PLAIN: 9.0, PLANNED: 8.0, IN_PLANNED: 7.0}


def test_the_planned_network_is_tried_in_blocks_where_it_has_differences():
    model, made, asked = planned(**FASTER)
    assert asked == [[PLAIN, PLANNED, IN_PLANNED]]
    assert made.kept == IN_PLANNED and kernels_of(made.model) == BLOCKED
    assert ops(made.model)["Sub"] and ops(made.model)["Mul"]  # the file alone is written otherwise
    document = plans.of(made, TARGET, here(TARGET, 1), "normal")
    assert document.why == (
        "the planned network is faster in blocked kernels: 7.00 ms, plain 9.00 ms, "
        "in the forms that cost least 8.00 ms"
    )
    again = plans.replay(model, plans.from_json(document.to_json()))
    assert structure_sha256(again) == structure_sha256(made.model)


def test_they_are_left_where_they_are_slower():
    _, made, _ = planned(**{PLAIN: 9.0, PLANNED: 7.0, IN_PLANNED: 8.0})
    assert made.kept == PLANNED and not made.kernels


def test_a_network_without_differences_is_not_tried_in_blocks():
    net = Net(1, 16, 8, 8)
    net.conv(net.conv("x", 32, 16, 1, 1), 16, 32, 3, 3, pads=1)
    table = recorded(units_of(net), Scope(), lambda candidate: 1.0 if candidate.is_plain else 9.0)
    prices = Pricing(CostTable(), PLACE, TARGET, Recording(table.__getitem__), MeasureOptions(), OPSET)
    made = plan(net.model(), prices, Scope(), lambda models: pytest.fail("nothing to time"), blocked=True)
    assert not made.checked_ms and not made.kernels


def executed(path, folder):
    """Operators of a file after ONNX Runtime's own rewrites, on this machine."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_the_file_is_written_in_blocks_and_reorders_little(tmp_path):
    _, made, _ = planned(**FASTER)
    x = clip().sample(1)
    found = {}
    for label, model in {"plain": ir.Model(made.model.graph, ir_version=10), "blocked": made.model}.items():
        (tmp_path / label).mkdir()
        entry = lower(model, tmp_path / label, "float32").entry
        found[label] = ops(ir.load(entry)), executed(entry, tmp_path), run(ir.load(entry), x)
    (before, slow, expected), (after, fast, got) = found["plain"], found["blocked"]
    assert before["Mul"] and before["Sub"]
    assert not {"Mul", "Sub"} & set(after)
    assert_close(got, expected, 1e-5)
    if HAS_BLOCKED:
        reorders = [sum(n for op, n in each.items() if op.startswith("Reorder")) for each in (slow, fast)]
        assert reorders[0] > 50 and reorders[1] == 8 + 8  # frames at both ends
        assert fast.total() < 0.7 * slow.total()


def test_the_form_for_small_builds_has_no_blocks(tmp_path):
    net = mixed()
    model = with_kernels(net.model(), BLOCKED)
    for label, each in {"plain": net.model(), "blocked": model}.items():
        (tmp_path / label).mkdir()
        lower(each, tmp_path / label, "float32", Options(minimal=True))
    assert (tmp_path / "plain" / "model.onnx").read_bytes() != (
        tmp_path / "blocked" / "model.onnx"
    ).read_bytes()
    configs = [(tmp_path / label / "required_operators.config").read_text() for label in ("plain", "blocked")]
    assert configs[0] == configs[1] and "Sub" in configs[0]


def test_an_export_ships_them_verified_from_a_plan(tmp_path):
    model, made, _ = planned(**FASTER)
    ir.save(model, tmp_path / "net.onnx")
    document = plans.of(made, TARGET, here(TARGET, 1), "normal")
    done = export(tmp_path / "net.onnx", tmp_path / "out", to="onnxruntime", forms={"onnxruntime": document})
    (entry,) = done.manifest.targets
    assert entry.parity["passed"] and entry.plan.kernels == BLOCKED
    written = ops(ir.load(done.folder / entry.entry))
    assert not {"Mul", "Sub"} & set(written)
