"""Which rows there are, what of a network is decomposed, and the files made of it; nothing is timed."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from support.graphs import Net

from benchmarks.model_zoo.catalogue import ZOO, ZooNetwork
from benchmarks.model_zoo.weights import calibrate, initialise
from benchmarks.realisation import networks
from benchmarks.realisation.benchmark import run as run_benchmark
from benchmarks.realisation.cases import (
    FORMATS,
    NETWORKS,
    RANKS,
    RUNTIMES,
    SMALL_NETWORKS,
    Case,
    Selection,
    rank_of,
)
from benchmarks.realisation.exporting import Exported, export_network
from benchmarks.realisation.machine import mode_of
from benchmarks.realisation.measuring import TOLERANCE, parity, row_options
from tdedge.cost import network_cost
from tdedge.errors import GateError, UsageError
from tdedge.factor import Factor
from tdedge.progress import SILENT
from tdedge_exporters.capture import capture
from tdedge_runtimes.measure import MeasureOptions


def parsed(networks="", formats="", runtimes="", ranks=""):
    return Selection.parse(networks, formats, runtimes, ranks, fresh=False)


def test_the_matrix_is_whole():
    cases = Selection().cases(quick=False)
    assert len(set(cases)) == len(cases)
    for name in ("c3d", "r3d18", "r2plus1d18", "resnet18", "vgg16"):
        assert {Case(name, fmt, rank) for fmt in FORMATS for rank in RANKS} <= set(cases)
    assert [case for case in cases if case.network == "thetis"] == [Case("thetis", "tucker", "published")]
    assert {case.format for case in cases if case.network == "mobilenetv2"} == {"svd"}
    assert {case.network for case in cases if case.rank == "unaligned"} == {"r3d18", "resnet18", "vgg16"}
    assert {case.network for case in cases} == set(NETWORKS)
    assert any(case.format.startswith("tltorch") for case in cases)
    assert Selection().targets() == RUNTIMES


def test_a_selection_restricts():
    chosen = parsed("r3d18, vgg16", "tucker", "openvino", "1/4,unaligned")
    assert chosen.cases(quick=False) == [
        Case("r3d18", "tucker", "1/4"),
        Case("r3d18", "tucker", "unaligned"),
        Case("vgg16", "tucker", "1/4"),
        Case("vgg16", "tucker", "unaligned"),
    ]
    assert chosen.targets() == ("openvino",)
    assert {case.network for case in Selection().cases(quick=True)} == {"thetis"}
    assert {case.network for case in parsed("video_net,image_net").cases(quick=True)} == set(SMALL_NETWORKS)
    assert not parsed("video_net").cases(quick=False)
    assert parsed("mobilenetv2", "cp").cases(quick=False), "svd stands for every linear format"
    assert not parsed("mobilenetv2", "ntt").cases(quick=False)


@pytest.mark.parametrize("words", [("alexnet",), ("", "foo"), ("", "", "onnx"), ("", "", "", "1/3")])
def test_unknown_words_are_refused(words):
    with pytest.raises(UsageError, match="unknown"):
        parsed(*words)


def test_an_empty_selection_is_refused():
    with pytest.raises(UsageError, match="leave no row"):
        run_benchmark(MeasureOptions(), SILENT, quick=True, selection=parsed("thetis", "cp"))


@pytest.mark.parametrize(
    ("rule", "channels", "rank"),
    [("1/2", 64, 32), ("1/4", 50, 13), ("1", 64, 64), ("tiny", 64, 4), ("tiny", 512, 8), ("tiny", 8, 1),
     ("unaligned", 64, 13), ("unaligned", 512, 125), ("unaligned", 4, 1)],
)  # fmt: skip
def test_ranks(rule, channels, rank):
    assert rank_of(rule, channels) == rank


def test_an_unknown_rank_is_refused():
    with pytest.raises(UsageError, match="unknown rank"):
        rank_of("half", 64)


def test_aligned_counterpart():
    assert Case("vgg16", "tucker", "unaligned").aligned == Case("vgg16", "tucker", "1/4")
    assert Case("vgg16", "tucker", "1/4").aligned is None


def test_what_is_decomposed():
    def factor(taps, groups=1):
        return Factor(np.zeros((8, 8 // groups, *taps), np.float32), groups=groups)

    resnet, mobile = ZOO["resnet18"], ZOO["mobilenetv2"]
    assert networks.is_decomposed("blocks.0.conv1", factor((3, 3)), resnet)
    assert not networks.is_decomposed("stem.0", factor((7, 7)), resnet)
    assert not networks.is_decomposed("blocks.2.downsample.0", factor((1, 1)), resnet)
    assert not networks.is_decomposed("fc", factor(()), resnet)
    assert networks.is_decomposed("features.3.layers.0", factor((1, 1)), mobile)
    assert not networks.is_decomposed("features.3.layers.3", factor((3, 3), 8), mobile)


def test_factors_without_taps_are_composed():
    dense = Factor(np.zeros((32, 16, 3, 1, 1), np.float32), pads=((1, 1), (0, 0), (0, 0)))
    chain = networks.random_chain(dense, "tt", "1/2", 0)
    assert [factor.kernel_size for factor in chain] == [(1, 1, 1), (3, 1, 1), (1, 1, 1)]
    assert chain.output_shape((1, 16, 4, 5, 5)) == (1, 32, 4, 5, 5)
    activated = networks.random_chain(dense, "ntt", "1/2", 0)
    assert len(activated) == 5, "an activation stands between its factors"


#: Small stand-ins: the benchmark's own code on networks that take no time.
def small(stem=("0",)):
    def make():
        return torch.nn.Sequential(
            torch.nn.Conv3d(3, 16, 3, padding=1, bias=False), torch.nn.BatchNorm3d(16), torch.nn.ReLU(),
            torch.nn.Conv3d(16, 32, 3, padding=1, bias=False), torch.nn.BatchNorm3d(32), torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(32, 4),
        )  # fmt: skip

    return ZooNetwork("small", make, (1, 3, 4, 12, 12), stem)


@pytest.fixture
def zoo(monkeypatch):
    monkeypatch.setitem(ZOO, "small", small())
    return ZOO["small"]


def test_networks_are_seeded_and_keep_their_scale(zoo):
    x = torch.randn(zoo.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        first, second = zoo.build()(x), zoo.build()(x)
    assert torch.equal(first, second)
    assert 0.01 < float(first.abs().mean()) < 10
    vanishing = initialise(zoo.make())
    with torch.no_grad():
        vanishing[3].weight *= 1e-30
        calibrate(vanishing, zoo.shape)
        assert float(vanishing[:6](x).abs().mean()) < 10


@pytest.mark.parametrize(
    ("fmt", "rank", "convs"), [("tucker", "1/4", 4), ("kcp", "1", 5), ("tltorch-tucker", "1/4", 4)]
)
def test_exports_of_a_case(zoo, tmp_path, fmt, rank, convs):
    module = networks.decomposed(Case("small", fmt, rank))
    made = export_network(module, zoo.shape, tmp_path)
    for path in (made.plain, made.rewritten):
        operators = [node.op_type for node in onnx.load(path).graph.node]
        assert operators.count("Conv") == convs
    assert "BatchNormalization" not in operators, "ours is folded, also behind the wrappers of other tools"
    assert made.macs >= made.rewritten_macs == network_cost(capture(made.rewritten).model).macs
    assert Exported.load(tmp_path) == made
    assert Exported.load(tmp_path / "elsewhere") is None
    assert parity("onnxruntime", made.plain, made.rewritten) <= 1e-5


def test_parity_refuses_another_network(zoo, tmp_path):
    first = export_network(networks.dense("small"), zoo.shape, tmp_path / "a")
    second = export_network(networks.decomposed(Case("small", "tucker", "1/4")), zoo.shape, tmp_path / "b")
    with pytest.raises(GateError, match="differ by"):
        parity("onnxruntime", first.plain, second.plain)
    assert TOLERANCE < 1e-3


def test_parity_of_a_network_that_amplifies_rounding(tmp_path):
    """A sine of thousands: the last bit of what it reads is the fourth digit of what it gives."""

    def write(name, *factors):
        net = Net(1, 4, 8, 8)
        total = "x"
        for factor in factors:
            total = net.add("Mul", total, net.weight(array=np.float32(factor)))
        net.add("Sin", total)
        ir.save(net.model(), tmp_path / name)
        return tmp_path / name

    first = write("first.onnx", 2000.0)
    assert TOLERANCE < parity("onnxruntime", first, write("second.onnx", 10.1, 2000.0 / 10.1)) < 3e-3
    with pytest.raises(GateError, match="differ by"):
        parity("onnxruntime", first, write("other.onnx", 2000.02))


def test_a_format_that_saves_nothing_is_refused(monkeypatch):
    monkeypatch.setitem(ZOO, "small", small(stem=("0", "3")))
    with pytest.raises(UsageError, match="no layer has fewer"):
        networks.decomposed(Case("small", "tucker", "1/4"))


def test_decomposed_resnet_18_has_the_ratio_of_the_literature():
    dense, factored = ({}, {})
    for found, module in (
        (dense, networks.dense("resnet18")),
        (factored, networks.decomposed(Case("resnet18", "tucker", "1/4"))),
    ):
        hooks = []
        for name, layer in module.named_modules():
            weight = getattr(layer, "weight", None)
            if weight is not None and weight.dim() > 1:

                def note(layer, inputs, output, name=name, found=found):
                    per_output = layer.weight[0].numel()
                    found[name] = output.numel() * per_output

                hooks.append(layer.register_forward_hook(note))
        with torch.no_grad():
            module(torch.zeros(ZOO["resnet18"].shape))
    assert sum(dense.values()) == pytest.approx(1.814e9, rel=1e-3)
    assert 5.0 < sum(dense.values()) / sum(factored.values()) < 5.6


def test_modes_of_two_threads():
    assert mode_of([]) == ""
    assert mode_of([(30.0, 40.0), (31.0, 41.0)]) == "near"
    assert mode_of([(30.0, 60.0)]) == "far"
    assert mode_of([(30.0, 40.0), (30.0, 60.0)]) == "mixed"


def test_full_rows_have_ten_calls_and_quick_ones_fewer():
    assert row_options(1, quick=False).min_blocks == 10
    assert row_options(2, quick=True).min_blocks < 10
    assert row_options(2, quick=True).threads == 2
