"""The network written again computes what it did, whatever was chosen for its parts."""

import re
from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models.catalogue import NETWORKS
from support.graphs import Net, ops, run
from support.planning import SETTINGS
from support.random_networks import Grower

from tdedge_exporters.capture import capture
from tdedge_exporters.passes.pipeline import clean
from tdedge_exporters.planner.candidates import Candidate, Scope, candidates, plain
from tdedge_exporters.planner.layouts import NATIVE, Layout
from tdedge_exporters.planner.rebuild import rebuild
from tdedge_exporters.planner.search import search
from tdedge_exporters.planner.units import Network, network

#: Small widths still fill lanes, so that ranks are padded.
SCOPE = Scope(lanes=4, packings=4, waste=6.0, volumes=True)


def any_choice(net: Network, seed: int, scope: Scope = SCOPE) -> tuple[Candidate, ...]:
    """A consistent choice that random costs lead to; plain forms are often dear."""
    rng = np.random.default_rng(seed)
    offered = candidates(net, scope)
    costs = rng.random(len(offered)) + rng.choice([0, 2]) * np.array([each.is_plain for each in offered])
    longer = rng.random() < 0.5
    if longer:  # favour long runs: every unit alone costs the same again
        costs += 2 - 1 / np.array([len(each.units) for each in offered])
    level = rng.choice([0.0, 0.1, 0.5])
    return search(net, offered, list(costs), lambda *_: level).chosen


def assert_rebuilt(model: ir.Model, chosen, x: np.ndarray, net: Network) -> ir.Model:
    rebuilt = rebuild(net, chosen)
    proto = ir.to_proto(rebuilt)
    onnx.checker.check_model(proto, full_check=True)
    for kind in ("inputs", "outputs"):
        old, new = getattr(model.graph, kind), getattr(rebuilt.graph, kind)
        assert [(v.name, v.type, v.shape) for v in new] == [(v.name, v.type, v.shape) for v in old]
    expected, got = run(model, x), run(rebuilt, x)
    for value, a, b in zip(model.graph.outputs, got, expected, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-5 * max(np.abs(b).max(), 1.0), value.name
    return rebuilt


def assert_names(net: Network, chosen, rebuilt: ir.Model) -> None:
    """What is native before and after keeps its name, shape and type; every name is there once."""
    made = [value for node in rebuilt.graph for value in node.outputs if value.name]
    names = [value.name for value in made]
    assert len(names) == len(set(names))
    by_name = {value.name: value for value in made}
    for candidate in chosen:
        for value in candidate.outputs:
            if candidate.gives == NATIVE:
                assert by_name[value.name].shape == value.shape
                assert by_name[value.name].type == value.type
    nodes = [node.name for node in rebuilt.graph]
    assert len(nodes) == len(set(nodes))


@settings(SETTINGS, max_examples=200)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 2, 3, 3, 3]), st.integers(1, 12), st.booleans())
def test_any_choice_gives_the_same_outputs(seed, axes, layers, with_head):
    grower = Grower(seed, axes, batch=1 + (seed % 5 == 0)).grow(layers)
    if with_head:
        grower.head()
    model = grower.model()
    net = network(model)
    chosen = any_choice(net, seed)
    covered = Counter(unit.index for candidate in chosen for unit in candidate.units)
    assert covered == Counter(range(len(net.units)))
    rebuilt = assert_rebuilt(model, chosen, grower.sample(), net)
    assert_names(net, chosen, rebuilt)


@settings(SETTINGS, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]))
def test_all_plain_is_the_network_itself(seed, axes):
    grower = Grower(seed, axes).grow(8).head()
    model = grower.model()
    net = network(model)
    rebuilt = rebuild(net, [plain(unit) for unit in net.units])
    same = [(node.name, node.op_type, [v and v.name for v in node.inputs]) for node in rebuilt.graph]
    assert sorted(same) == sorted(
        (node.name, node.op_type, [v and v.name for v in node.inputs]) for node in model.graph
    )
    for a, b in zip(run(rebuilt, grower.sample()), run(model, grower.sample()), strict=True):
        assert np.array_equal(a, b)


def test_every_form_is_met():
    """The random choices above meet every form there is."""
    forms = Counter()
    for seed in range(150):
        axes = 1 + seed % 3
        net = network(Grower(seed, axes).grow(10).model())
        for candidate in any_choice(net, seed):
            forms[re.sub(r"\.\d.*", "", candidate.form)] += 1
    assert {
        *("plain.factor", "plain.map", "plain.pool", "plain.opaque", "conv", "dense conv", "map"),
        *("view.pointwise", "view.temporal", "view.spatial", "matmul.last", "matmul.left", "matmul.time"),
        *(
            "frames.direct",
            "frames.sum",
            "frames.joined",
            "frames.banded",
            "frames.pool",
            "packed",
            "segments",
            "volume",
        ),
    } <= set(forms)


@pytest.mark.parametrize("layout", Layout)
def test_padded_ranks_in_every_layout(layout):
    """Three pointwise factors whose two ranks of 7 are stored as 8."""
    net = Net(1, 3, 4, 5, 6)
    y = net.conv("x", 7, 3, 1, 1, 1, bias=True)
    net.conv(net.conv(y, 7, 7, 1, 1, 1), 3, 7, 1, 1, 1)
    model = net.model()
    found = network(model)
    offered = candidates(found, Scope(lanes=4, waste=0))
    costs = [
        3.0 - (each.reads.layout == layout) - bool(each.reads.zeros or each.gives.zeros) for each in offered
    ]
    chosen = search(found, offered, costs, lambda *_: 0.1).chosen
    assert [str(each.gives) for each in chosen] == [f"{layout}+1", f"{layout}+1", str(layout)]
    rebuilt = assert_rebuilt(model, chosen, net.sample(), found)
    names = {value.name for node in rebuilt.graph for value in node.outputs}
    assert not names & {unit.outputs[0].name for unit in found.units[:2]}


SMALL = ("resnet18", "mobilenet_v3_small", "c3d", "r2plus1d_18")


@pytest.mark.parametrize("name", SMALL)
def test_networks_of_the_papers(name):
    entry = NETWORKS[name]
    model = capture(entry.factory(), example=torch.zeros(entry.input_shape)).model
    clean(model)
    net = network(model)
    x = np.random.default_rng(0).standard_normal(entry.input_shape).astype(np.float32)
    chosen = any_choice(net, 1, Scope(packings=2))
    assert sum(not each.is_plain for each in chosen) >= 8
    assert_rebuilt(model, chosen, x, net)


def test_constant_nodes_stay_readable():
    """Weights, and operands of other nodes, that are outputs of Constant nodes."""
    net = Net(1, 3, 6, 6)
    rng = np.random.default_rng(0)

    def constant(name, array):
        return net.add("Constant", name=name, value=onnx.numpy_helper.from_array(array))

    w = constant("w", rng.standard_normal((4, 3, 3, 3)).astype(np.float32))
    a = net.add("Conv", "x", w, name="a", kernel_shape=[3, 3])
    b = net.add("Mul", a, constant("c", rng.standard_normal((4, 1, 1)).astype(np.float32)), name="b")
    net.add("Reshape", b, constant("s", np.array([1, -1], np.int64)), name="y")
    model = net.model()
    units = network(model)
    x = np.ones(net.shape, np.float32)
    assert [unit.kind for unit in units.units] == ["factor", "map", "opaque"]
    rebuilt = assert_rebuilt(model, [plain(unit) for unit in units.units], x, units)
    assert ops(rebuilt) == {"Conv": 1, "Mul": 1, "Reshape": 1}
    assert set(rebuilt.graph.initializers) == {"w", "c", "s"}
    for seed in range(5):
        assert_rebuilt(model, any_choice(units, seed), x, units)


def test_shared_weights_stay_shared():
    net = Net(1, 3, 6, 6)
    w = net.weight(3, 3, 3, 3, name="shared")
    a = net.conv("x", 3, 3, 3, 3, pads=1, weight=w)
    net.conv(a, 3, 3, 3, 3, pads=1, weight=w)
    model = net.model()
    found = network(model)
    rebuilt = rebuild(found, [plain(unit) for unit in found.units])
    assert set(rebuilt.graph.initializers) == {"shared"}


def test_conversion_is_made_once_for_several_readers():
    """Two channels-last readers of one native value share its transposed copy."""
    net = Net(1, 4, 6, 6)
    a = net.add("Softplus", "x", name="a")
    b, c = (net.conv(a, 4, 4, 1, 1) for _ in range(2))
    net.add("Add", b, c)
    model = net.model()
    found = network(model)
    offered = candidates(found, SCOPE)
    chosen = [
        next(each for each in offered if each.units[0] is unit and each.form == form)
        for unit, form in zip(found.units, ["plain.map", "matmul.last", "matmul.last", "map"], strict=True)
    ]
    rebuilt = assert_rebuilt(model, chosen, net.sample(), found)
    assert ops(rebuilt)["Transpose"] == 2


def test_metadata_and_opset_stay():
    model = Grower(0, 2).grow(3).model()
    model.metadata_props["origin"] = "here"
    found = network(model)
    rebuilt = rebuild(found, [plain(unit) for unit in found.units])
    assert rebuilt.metadata_props == {"origin": "here"}
    assert rebuilt.graph.opset_imports == model.graph.opset_imports
    assert (rebuilt.ir_version, rebuilt.graph.name) == (model.ir_version, model.graph.name)
