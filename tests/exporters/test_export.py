import json
import os

import numpy as np
import onnx_ir as ir
import pytest
import torch
from support.graphs import Net, ops
from support.networks import classifier, damage, save_classifier, save_factory
from torch import nn

from tdedge.artifact import Preprocessing, read_manifest
from tdedge.errors import GateError, UsageError
from tdedge.plan import make_plan
from tdedge_exporters import lowering
from tdedge_exporters.export import check_parity, export, rewrite
from tdedge_exporters.prepare import Source
from tdedge_exporters.verify import Reference, random_inputs
from tdedge_runtimes.session import open_session

ALL = ("onnxruntime", "openvino", "openvino:float16", "tflite", "tflite:float16")


@pytest.fixture(scope="module", params=["trained_ntt", "trained_kcp"])
def trained(request, tmp_path_factory):
    """(name, torch module, example, accuracy, result of the export to every target)."""
    module, example, accuracy = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp(request.param) / "artifact"
    result = export(module, folder, to=ALL, example=example, minimal=True)
    return request.param, module, example, accuracy, result


def chain_nodes(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type in ("Conv", "Gemm", "MatMul")]


def test_trained_networks_run_everywhere_as_in_torch(trained):
    _, module, example, accuracy, result = trained
    assert accuracy > 0.9
    with torch.no_grad():
        expected = module(example).numpy()
    assert len(set(expected.argmax(1))) > 1
    assert [entry.target for entry in result.manifest.targets] == list(ALL)
    for entry in result.manifest.targets:
        assert entry.parity["passed"]
        assert entry.parity["outputs"][0]["top1_agreement"] == 1.0
        with open_session(entry.runtime, result.folder / entry.entry) as session:
            (got,) = session.run({session.inputs[0].name: example.numpy()}).values()
        tolerance = 2e-2 if entry.precision == "float16" else 1e-5
        assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()
        assert np.array_equal(got.argmax(1), expected.argmax(1))


def test_trained_networks_are_exported_as_chains(trained):
    name, _, _, _, result = trained
    model = ir.load(result.folder / "model.onnx")
    nodes = list(model.graph)
    assert not {"Pad", "Reshape", "Transpose", "BatchNormalization", "Einsum"} & set(ops(model))
    shapes = [tuple(node.inputs[1].shape) for node in chain_nodes(model)]
    if name == "trained_ntt":
        assert shapes == [
            *((3, 3, 1, 1), (8, 3, 5, 1), (12, 8, 1, 5), (16, 12, 1, 1)),
            *((12, 16, 1, 1), (12, 12, 3, 1), (16, 12, 1, 3), (24, 16, 1, 1)),
            *((4, 24), (4, 4)),
        ]
        for before, after in zip(chain_nodes(model), chain_nodes(model)[1:], strict=False):
            between = nodes[nodes.index(before) + 1 : nodes.index(after)]
            assert between[0].op_type == "Relu"
        return
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    depthwise = [n for n in convolutions if n.inputs[1].shape[0] > 1 and n.attributes["group"].as_int() > 1]
    assert all(n.attributes["group"].as_int() == n.inputs[1].shape[0] for n in depthwise)
    assert [tuple(n.inputs[1].shape) for n in depthwise] == [
        (16, 1, 3, 1, 1), (20, 1, 1, 3, 3), (20, 1, 3, 1, 1)
    ]  # fmt: skip
    assert ops(model)["Conv"] == 7  # one chain of both branches
    assert "Add" not in ops(model)


def test_equal_exports_are_equal_files(tmp_path):
    """Of a graph and of a torch factory, both compressed."""
    plan = make_plan("tucker", energy=0.8)
    for source in (save_classifier(tmp_path / "net.onnx"), save_factory(tmp_path)):
        for name in ("one", "two"):
            export(source, tmp_path / name, to=ALL, plan=plan, force=True)
        files = sorted(os.listdir(tmp_path / "one"))
        assert files == sorted(os.listdir(tmp_path / "two"))
        assert {"model.onnx", "golden.npz", "plan.json", "manifest.json"} <= set(files)
        for file in files:
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_artifact_holds_no_path_of_this_machine(tmp_path):
    export(save_factory(tmp_path), tmp_path / "out", to=ALL, minimal=True)
    for path in (tmp_path / "out").iterdir():
        for word in (str(tmp_path), str(tmp_path.parent), "site-packages"):
            assert word.encode() not in path.read_bytes(), (path, word)


def test_golden_data_is_the_reference_on_the_given_inputs(tmp_path):
    source = save_classifier(tmp_path / "net.onnx")
    x = np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    result = export(source, tmp_path / "out", to="onnxruntime", inputs=tmp_path / "in.npz")
    with np.load(result.folder / "golden.npz") as golden:
        assert sorted(golden.files) == ["input.x", "output.y"]
        assert np.array_equal(golden["input.x"], x)
        stored = golden["output.y"]
    with open_session("onnxruntime", source) as session:
        expected = session.run({"x": x})["y"]
    assert stored.dtype == np.float32
    assert np.allclose(stored, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_compression_error_is_beside_parity_and_not_in_it(tmp_path):
    source = save_classifier(tmp_path / "net.onnx")
    result = export(source, tmp_path / "out", to=ALL, plan=make_plan("tucker", ranks=[1, 1]))
    manifest = result.manifest
    assert manifest.compression_error["max_rel"] > 0.1
    assert [output["name"] for output in manifest.compression_error["outputs"]] == ["y"]
    assert "passed" not in manifest.compression_error
    for entry in manifest.targets:
        assert entry.parity["passed"]
        assert entry.parity["max_rel"] < (2e-2 if entry.precision == "float16" else 1e-5)
    assert manifest.cost["captured"]["macs"] < manifest.cost["dense"]["macs"] / 3
    plan = json.loads((result.folder / "plan.json").read_text())
    assert plan["compression"]["layers"]["n_c"] == {"format": "tucker", "ranks": [1, 1], "init": "decompose"}


def test_the_error_of_a_network_that_ends_in_a_decomposed_layer(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 6))
    plan = make_plan("svd", ranks=[2])
    result = export(net, tmp_path / "out", plan=plan, example=torch.zeros(1, 12))
    (output,) = result.manifest.compression_error["outputs"]
    assert output["name"] == result.manifest.outputs[0].name
    assert 1e-2 < output["max_rel"] < 10


def test_network_that_is_not_compressed_has_no_compression_error(tmp_path):
    result = export(save_classifier(tmp_path / "net.onnx"), tmp_path / "out", to="onnxruntime")
    assert result.manifest.compression_error is None
    assert set(result.manifest.cost) == {"captured", "exported"}
    assert result.compression is None
    assert result.to_json()["compression"] is None


def test_unreachable_tolerance_fails_with_the_first_tensor_and_leaves_nothing(tmp_path):
    source = save_classifier(tmp_path / "net.onnx")
    for target in ("onnxruntime", "openvino"):
        with pytest.raises(GateError) as raised:
            export(source, tmp_path / "out", to=target, tolerance=1e-12)
        assert raised.value.message.startswith(f"{target}: parity failed: output 'y' differs by")
        assert "first diverging tensor: a;" in raised.value.message
        assert os.listdir(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize("target", ALL[:2])
def test_changed_weight_of_a_lowered_file_is_found_and_named(tmp_path, target):
    model = classifier()
    weight = model.graph.node("n_c").inputs[1].const_value.numpy()
    lowered = lowering.lower(model, tmp_path, lowering.Target.parse(target))
    reference = Reference(model, random_inputs(model, 0, 2))
    assert check_parity(reference, lowered, None).passed
    damage(lowered.entry, weight)
    with pytest.raises(GateError, match="first diverging tensor: c;"):
        check_parity(reference, lowered, None)


class Mixed(nn.Module):
    """Two inputs, one of integers; a matrix, a scalar, integers and an image come out."""

    def __init__(self):
        super().__init__()
        self.conv, self.table, self.head = nn.Conv2d(3, 4, 3), nn.Embedding(7, 4), nn.Linear(4, 5)

    def forward(self, image, words):
        seen = self.conv(image)
        y = self.head(torch.relu(seen).mean((2, 3)) + self.table(words).mean(1))
        return y, y.sum(), torch.sort(words, dim=1).values, seen


def test_several_inputs_and_outputs_of_every_kind(tmp_path):
    torch.manual_seed(0)
    example = [torch.randn(2, 3, 8, 8), torch.randint(0, 7, (2, 5))]
    result = export(Mixed(), tmp_path / "out", to=ALL, example=example)
    manifest = result.manifest
    assert [(t.name, t.shape, t.dtype, t.layout) for t in manifest.inputs] == [
        ("image", [2, 3, 8, 8], "float32", "NCHW"),
        ("words", [2, 5], "int64", ""),
    ]
    assert [(t.shape, t.dtype, t.layout) for t in manifest.outputs] == [
        ([2, 5], "float32", "NC"),
        ([], "float32", ""),
        ([2, 5], "int64", ""),
        ([2, 4, 6, 6], "float32", "NCHW"),
    ]
    for entry in manifest.targets:
        assert [output["passed"] for output in entry.parity["outputs"]] == [True] * 4
    with np.load(result.folder / "golden.npz") as golden:
        assert golden["input.words"].max() < 7
        assert golden[f"output.{manifest.outputs[1].name}"].shape == ()


def test_nan_of_the_network_itself_is_no_failure(tmp_path):
    """Square roots of negative values are NaN in the reference and in the runtimes, at the same places."""
    net = Net(1, 4, 6, 6)
    net.conv("x", 4, 4, 3, 3, name="a")
    net.add("Sqrt", "a", name="y")
    ir.save(net.model(), tmp_path / "net.onnx")
    result = export(tmp_path / "net.onnx", tmp_path / "out")
    with np.load(result.folder / "golden.npz") as golden:
        assert 0 < np.isnan(golden["output.y"]).sum() < golden["output.y"].size
    assert all(entry.parity["passed"] for entry in result.manifest.targets)

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    json.loads((result.folder / "manifest.json").read_text(), parse_constant=refuse)


@pytest.mark.parametrize(("axes", "layout"), [(1, "NCW"), (2, "NCHW"), (3, "NCDHW")])
def test_networks_of_one_to_three_axes(tmp_path, axes, layout):
    net = Net(1, 3, *(6,) * axes)
    net.conv("x", 8, 3, *(3,) * axes, name="a")
    net.add("Relu", "a", name="y")
    ir.save(net.model(), tmp_path / "net.onnx")
    result = export(tmp_path / "net.onnx", tmp_path / "out", plan=make_plan("tucker", ratio=0.5))
    assert [result.manifest.inputs[0].layout, result.manifest.outputs[0].layout] == [layout] * 2
    assert result.compression.rows[0].status == "decomposed"
    assert all(entry.parity["passed"] for entry in result.manifest.targets)


def test_manifest_says_what_was_given(tmp_path):
    source = save_classifier(tmp_path / "net.onnx")
    applied = Preprocessing(scale=1 / 255, mean=[0.5] * 3, std=[0.25] * 3, color="RGB")
    words = list("abcd")
    result = export(source, tmp_path / "out", to="openvino", labels=words, preprocessing=applied)
    assert result.manifest == read_manifest(tmp_path / "out")
    assert result.manifest.labels == words
    assert result.manifest.preprocessing == applied
    assert (result.manifest.name, result.manifest.source_kind) == ("net", "onnx")
    assert set(result.manifest.versions) == {"onnx", "onnx_ir", "numpy", "openvino"}
    assert "onnxruntime" not in result.manifest.versions
    assert json.loads(json.dumps(result.to_json()))["folder"] == str(tmp_path / "out")


@pytest.mark.parametrize("plan", [None, make_plan("tucker", ratio=0.5)])
def test_kind_and_name_of_torch_sources(tmp_path, plan):
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    live = export(net, tmp_path / "a", to="onnxruntime", example=torch.ones(1, 3, 6, 6), plan=plan)
    assert (live.manifest.source_kind, live.manifest.name) == ("module", "Sequential")
    made = export(Source(save_factory(tmp_path)), tmp_path / "b", to="onnxruntime", plan=plan)
    assert (made.manifest.source_kind, made.manifest.name) == ("factory", "classifier")
    assert "ran the code of net.py:classifier" in made.manifest.warnings


def test_dead_output_is_warned_about(tmp_path):
    net = Net(1, 3, 6, 6)
    net.conv("x", 4, 3, 3, 3, name="a", weight=net.weight(array=np.zeros((4, 3, 3, 3))))
    net.add("Relu", "a", name="y")
    ir.save(net.model(), tmp_path / "net.onnx")
    result = export(tmp_path / "net.onnx", tmp_path / "out", to=ALL[:2])
    assert len([w for w in result.manifest.warnings if "'y' is constant" in w]) == 1


def test_force_replaces_every_file(tmp_path):
    source = save_classifier(tmp_path / "net.onnx")
    export(source, tmp_path / "out", to="onnxruntime,openvino")
    with pytest.raises(UsageError, match="--force"):
        export(source, tmp_path / "out", to="onnxruntime")
    export(source, tmp_path / "out", to="onnxruntime", force=True)
    assert sorted(os.listdir(tmp_path / "out")) == ["golden.npz", "manifest.json", "model.onnx", "plan.json"]


def test_rewrite_works_on_a_copy():
    net = Net(1, 4, 6, 6)
    net.conv("x", 8, 4, 1, 1, name="a")
    net.conv("a", 4, 8, 3, 3, name="y")
    model = net.model()
    before = [node.name for node in model.graph]
    rewritten, records = rewrite(model)
    assert len(list(rewritten.graph)) == 1
    assert any(record.changed for record in records)
    assert [node.name for node in model.graph] == before
