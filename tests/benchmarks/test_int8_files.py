"""Files of the int8 benchmark: a small network in every runtime, what is counted in it, and peers."""

import sys

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from benchmarks.int8 import networks, peers
from benchmarks.int8.files import Makers, Workplace, size_bytes
from benchmarks.int8.operators import Op, islands, operators
from benchmarks.int8.quality import quality
from benchmarks.int8.rows import (
    DENSE,
    DENSE_INT8,
    FLOAT_PLAN,
    INT8,
    MIN_MAX,
    NOT_EQUALISED,
    PLANNED,
    UNPLANNED,
)
from benchmarks.model_zoo.catalogue import ZOO, ZooNetwork
from benchmarks.peers.peer import QUANTISERS, Converter, Peer
from benchmarks.realisation.cases import Case
from tdedge.errors import UnsupportedError
from tdedge.progress import SILENT
from tdedge_exporters import lowering
from tdedge_exporters.inputs import random_inputs
from tdedge_exporters.lowering import Target
from tdedge_exporters.planning import Planning
from tdedge_exporters.quantize.quantize import quantize
from tdedge_exporters.quantize.settings import Int8

RUNTIMES = ("onnxruntime", "openvino", "tflite")


def conv(name, source, out, into, kernel, rng):
    weight = rng.standard_normal((out, into, kernel, kernel)).astype(np.float32) / (kernel * into**0.5)
    value = ir.Value(name=f"{name}.w", const_value=ir.tensor(weight, name=f"{name}.w"))
    value.shape, value.type = ir.Shape(weight.shape), ir.TensorType(ir.DataType.FLOAT)
    pads = ir.AttrInt64s("pads", [kernel // 2] * 4)
    node = ir.Node("", "Conv", [source, value], [pads], name=name)
    node.outputs[0].name = f"{name}.out"
    node.outputs[0].shape, node.outputs[0].type = ir.Shape((1, out, 12, 12)), value.type
    return node, value


@pytest.fixture(scope="module")
def network():
    """Three convolutions of a Tucker chain, (1, 16, 12, 12) -> (1, 16, 12, 12)."""
    rng = np.random.default_rng(0)
    x = ir.Value(name="x", shape=ir.Shape((1, 16, 12, 12)), type=ir.TensorType(ir.DataType.FLOAT))
    nodes, weights, source = [], [], x
    for name, out, into, kernel in (("a", 8, 16, 1), ("b", 8, 8, 3), ("c", 16, 8, 1)):
        node, weight = conv(name, source, out, into, kernel, rng)
        nodes.append(node)
        weights.append(weight)
        source = node.outputs[0]
    graph = ir.Graph([x], [source], nodes=nodes, initializers=weights, opset_imports={"": 20}, name="chain")
    return ir.Model(graph, ir_version=10)


def folder(parent, name):
    made = parent / name
    made.mkdir()
    return made


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_products_are_counted_as_the_runtime_executes_them(runtime, network, tmp_path):
    samples = random_inputs(network, 0, 4)
    whole = quantize(network, samples, Int8()).model
    path = lowering.lower(whole, folder(tmp_path, "whole"), Target(runtime, "int8")).entry
    found = operators(runtime, path)
    assert (found.integer, found.floating, found.dynamic, found.share) == (3, 0, 0, 1.0)
    assert found.islands == (None if runtime == "openvino" else 0)
    assert (found.partitions, found.builtin) == ((1, 0) if runtime == "tflite" else (None, None))

    mixed = quantize(network, samples, Int8(keep=("c",))).model
    path = lowering.lower(mixed, folder(tmp_path, "mixed"), Target(runtime, "int8")).entry
    found = operators(runtime, path)
    assert (found.integer, found.floating) == (2, 1)
    assert found.islands == (None if runtime == "openvino" else 0), "it ends in float32"

    inner = quantize(network, samples, Int8(keep=("b",))).model
    path = lowering.lower(inner, folder(tmp_path, "inner"), Target(runtime, "int8")).entry
    found = operators(runtime, path)
    assert (found.integer, found.floating) == (2, 1)
    assert found.islands == (None if runtime == "openvino" else 1)

    path = lowering.lower(network, folder(tmp_path, "plain"), Target(runtime)).entry
    found = operators(runtime, path)
    assert (found.integer, found.floating, found.share) == (0, 3, 0.0)
    assert found.islands in (None, 0)


def test_islands_lie_between_integers():
    def op(kind, reads, gives):
        return Op(kind, tuple(reads), tuple(gives))

    head = [op("QuantizeLinear", "x", "a"), op("QLinearConv", "a", "b")]
    tail = [op("DequantizeLinear", "b", "c"), op("Softmax", "c", "y")]
    assert islands([*head, *tail]) == 0, "what ends in float32 is no island"
    inner = [op("DequantizeLinear", "b", "c"), op("Sin", "c", "d"), op("Exp", "d", "e")]
    back = [op("QuantizeLinear", "e", "f"), op("QLinearConv", "f", "g")]
    assert islands([*head, *inner, *back]) == 1
    second = [op("DequantizeLinear", "g", "h"), op("Sin", "h", "i"), op("QuantizeLinear", "i", "j")]
    assert islands([*head, *inner, *back, *second]) == 2
    branches = [op("DequantizeLinear", "b", "c"), op("Sin", "c", "d"), op("Cos", "c", "e")]
    joined = [op("Add", "de", "f"), op("QuantizeLinear", "f", "g")]
    assert islands([*head, *branches, *joined]) == 1
    assert islands([op("Conv", "x", "y")]) == 0


def test_quality_of_known_errors():
    exact = [np.array([3.0, 4.0]), np.array([0.0, 5.0])]
    rounded = [np.array([3.0, 4.5]), np.array([0.5, 5.0])]
    found = quality(exact, rounded)
    assert found.sqnr_db == pytest.approx(20.0)  # 50 over 0.5
    assert found.agreement == 1.0
    assert quality(exact, [exact[0][::-1], exact[1]]).agreement == 0.5
    assert quality(exact, exact).sqnr_db is None


def test_sizes_count_the_weights_beside(tmp_path):
    for name, size in (("model.onnx", 5), ("model.xml", 7), ("model.bin", 11)):
        (tmp_path / name).write_bytes(bytes(size))
    assert size_bytes(tmp_path / "model.onnx") == 5
    assert size_bytes(tmp_path / "model.xml") == 18


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    """A small network, unplanned: what is made of it does not depend on time."""
    place = tmp_path_factory.mktemp("int8")
    work = Workplace(place / "kept", place / "scratch", Planning("none"), True, SILENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ZOO, "tiny", ZooNetwork("tiny", tiny, (1, 3, 16, 16), ("0",)))
        yield Makers(Case("tiny", "tucker", "1/2"), work)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_row_has_all_its_files(runtime, makers):
    made = makers.files(runtime)
    labels = {DENSE, DENSE_INT8, PLANNED, INT8, FLOAT_PLAN, UNPLANNED}
    assert set(made.paths) == labels | ({peers.STATIC} if runtime != "tflite" else set())
    assert made.notes == {}
    assert set(made.quality) == (set(made.paths) - {DENSE, PLANNED, FLOAT_PLAN, UNPLANNED}) | {
        NOT_EQUALISED,
        MIN_MAX,
    }
    assert made.quality[INT8].sqnr_db > 35
    assert made.quality[DENSE_INT8].sqnr_db > 35
    counted = operators(runtime, made.paths[INT8])
    assert counted.share == 1.0
    assert counted.islands in (None, 0)
    again = makers.files(runtime)
    assert again.quality[DENSE_INT8] == made.quality[DENSE_INT8]


def test_a_peer_that_fails_says_why(network, tmp_path, monkeypatch):
    source, feeds = tmp_path / "x.onnx", random_inputs(network, 0, 2)
    ir.save(network, source)
    script = tmp_path / "peer.py"
    script.write_text("import sys\nraise ValueError('no such recipe', len(sys.argv))\n")
    monkeypatch.setattr(Peer, "converter", lambda self, cache: Converter(self.name, self.reads, command))
    command = (sys.executable, str(script))
    with pytest.raises(UnsupportedError, match=r"ValueError: \('no such recipe', 4\)"):
        peers.make(QUANTISERS["openvino"].name, "openvino", {".onnx": source}, feeds, tmp_path / "made")
    (tmp_path / "broken.onnx").write_bytes(b"x")
    broken = {".onnx": tmp_path / "broken.onnx"}
    with pytest.raises(UnsupportedError, match="Error"):
        peers.make(peers.STATIC, "onnxruntime", broken, feeds, tmp_path / "made")


def test_peers_of_a_runtime():
    assert peers.names("openvino", quick=False) == [peers.STATIC, "nncf 3.4.0"]
    assert peers.names("openvino", quick=True) == [peers.STATIC]
    assert peers.names("tflite", quick=True) == []


def test_samples_of_random_networks_are_seeded_and_apart(network):
    first, again = networks.samples("image_net", network), networks.samples("image_net", network)
    assert (len(first.calibration), len(first.held_out)) == networks.RANDOM_SAMPLES
    for one, other in zip(first.calibration, again.calibration, strict=True):
        assert np.array_equal(one["x"], other["x"])
    assert not any(
        np.array_equal(one["x"], other["x"]) for one in first.calibration for other in first.held_out
    )
