import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.graphs import ops
from support.networks import save_classifier, save_factory
from torch import nn

from tdedge.errors import UsageError
from tdedge.plan import CompressionPlan, LayerRule, make_plan
from tdedge_exporters.prepare import Source, prepare
from tdedge_exporters.reference import evaluate

PLAN = CompressionPlan(layers={"2": LayerRule(format="tucker", ranks=(3, 4))})


def outputs(model, x) -> np.ndarray:
    (value,) = evaluate(model, {model.graph.inputs[0].name: x}).values()
    return value


@pytest.fixture
def image():
    return np.random.default_rng(3).standard_normal((1, 3, 8, 8)).astype(np.float32)


def network(seed: int) -> nn.Module:
    """The module that ``net.py:classifier`` makes, with other weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)),
    )


def test_factory_with_weights_and_a_plan(tmp_path, image):
    other = network(99)
    save_file(other.state_dict(), tmp_path / "state.safetensors")
    source = Source(save_factory(tmp_path), weights=tmp_path / "state.safetensors")
    prepared = prepare(source, PLAN)
    with torch.no_grad():
        expected = other(torch.from_numpy(image)).numpy()
    assert np.allclose(outputs(prepared.dense, image), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        small = prepared.module(torch.from_numpy(image)).numpy()
    assert np.abs(small - expected).max() > 1e-3
    assert np.allclose(outputs(prepared.model, image), small, rtol=0, atol=1e-5)
    assert (prepared.name, prepared.kind) == ("classifier", "factory")
    assert prepared.notes[0] == "ran the code of net.py:classifier"
    statuses = {row.name: row.status for row in prepared.compression.rows}
    assert statuses == {"0": "kept", "2": "decomposed", "6": "kept"}


class TwoHeads(nn.Module):
    """Three layers that are decomposed, two of which give outputs; torch names all after their operator."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.first, self.second = (nn.Linear(12, 12) for _ in range(3))

    def forward(self, x):
        inner = self.body(x).relu()
        return self.second(inner), self.first(inner)


@pytest.mark.parametrize("layers", [("body", "first", "second"), ("body",), ("second",)], ids="+".join)
def test_outputs_are_named_as_those_of_the_dense_network(layers):
    """The files of one can take the place of the other's; a name may pass from one output to the next."""
    net, x = TwoHeads(), torch.randn(1, 12, generator=torch.Generator().manual_seed(1))
    plan = CompressionPlan(layers={name: LayerRule(format="svd", ranks=(3,)) for name in layers})
    prepared = prepare(net, plan, example=x)
    names = [value.name for value in prepared.model.graph.outputs]
    assert names == [value.name for value in prepared.dense.graph.outputs]
    assert len({value.name for node in prepared.model.graph for value in node.outputs}) == 3 + len(layers) + 1
    got = evaluate(prepared.model, {prepared.model.graph.inputs[0].name: x.numpy()})
    with torch.no_grad():
        expected = prepared.module(x)
    for name, array in zip(names, expected, strict=True):
        assert np.allclose(got[name], array.numpy(), rtol=0, atol=1e-5)


def test_without_weights_the_factory_has_its_own(tmp_path, image):
    prepared = prepare(save_factory(tmp_path), None)
    torch.manual_seed(7)
    with torch.no_grad():
        expected = network(7)(torch.from_numpy(image)).numpy()
    assert np.allclose(outputs(prepared.model, image), expected, rtol=0, atol=1e-5)
    assert (prepared.dense, prepared.compression, prepared.resolved_plan) == (None, None, None)


@pytest.mark.parametrize("plan", [None, PLAN])
def test_given_shapes_win_over_the_example_of_a_factory(tmp_path, plan):
    source = Source(save_factory(tmp_path), input_shapes={"": (2, 3, 10, 9)})
    prepared = prepare(source, plan)
    assert tuple(prepared.model.graph.inputs[0].shape) == (2, 3, 10, 9)


def test_live_module_is_left_as_it_was():
    module = network(0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    prepared = prepare(module, PLAN, example=torch.ones(1, 3, 8, 8))
    assert prepared.kind == "module"
    assert prepared.module is not module
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_graph_is_compressed_as_a_graph(tmp_path, image):
    path = save_classifier(tmp_path / "net.onnx")
    plain = prepare(path, None)
    prepared = prepare(path, make_plan("tucker", ratio=0.5, keep=["n_a"]))
    assert np.array_equal(outputs(prepared.dense, image), outputs(plain.model, image))
    assert ops(prepared.dense)["Conv"] == 2
    assert ops(prepared.model)["Conv"] == 4
    assert (prepared.kind, prepared.module) == ("onnx", None)


@pytest.mark.parametrize("kind", ["graph", "factory"])
def test_resolved_plan_repeats_the_compression(tmp_path, image, kind):
    source = save_classifier(tmp_path / "net.onnx") if kind == "graph" else save_factory(tmp_path)
    first = prepare(source, make_plan("tucker", energy=0.7))
    resolved = CompressionPlan.model_validate(first.resolved_plan)
    assert all(rule.ranks for rule in resolved.layers.values())
    second = prepare(source, resolved)
    assert np.array_equal(outputs(first.model, image), outputs(second.model, image))
    assert second.resolved_plan == first.resolved_plan


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("net.onnx", False),
        ("a:b/net.onnx", False),
        ("run:3.ONNX", False),
        ("a:b.pt2", False),
        ("package.module:factory", True),
        ("folder/net.py:factory", True),
        (nn.ReLU(), True),
    ],
)
def test_what_has_a_torch_module(location, expected):
    assert Source(location).is_module is expected


def test_graph_in_a_file_with_a_colon_is_compressed(tmp_path):
    path = save_classifier(tmp_path / "run:3.onnx")
    assert prepare(path, make_plan("tucker", ratio=0.5)).kind == "onnx"


def test_plan_that_names_no_layer(tmp_path):
    with pytest.raises(UsageError, match="'3'"):
        prepare(save_factory(tmp_path), CompressionPlan(layers={"3": LayerRule(format="cp", ranks=(2,))}))
