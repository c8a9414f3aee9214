"""Networks of the int8 benchmark: those that learn something, decomposed and fed their own data."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from benchmarks.int8 import networks
from benchmarks.int8.cases import TRAINED_CASES, shape_of
from benchmarks.ranks.networks import NETWORKS
from benchmarks.realisation.cases import Case
from examples.tasks import moving_shapes


def test_trained_networks_are_decomposed_and_fed_their_data(tmp_path, monkeypatch):
    """With one epoch on little data in the place of five on all: the steps are the same."""
    case = Case("trained-resnet", "tucker", "1/4")
    assert case in TRAINED_CASES
    own = NETWORKS["resnet"]
    whole = own.load(0)
    few = replace(whole, inputs=whole.inputs[:48], labels=whole.labels[:48])
    quick = replace(own, load=lambda seed: few, settings=replace(own.settings, epochs=1))
    monkeypatch.setitem(NETWORKS, "resnet", quick)
    monkeypatch.setattr(networks, "cache_folder", lambda: tmp_path)
    networks._data.cache_clear()
    small, dense = networks.decomposed(case), networks.dense(case.network)
    graph = ir.Graph([ir.Value(name="x")], [], nodes=[], name="reads x")
    found = networks.samples(case.network, ir.Model(graph, ir_version=10))
    networks._data.cache_clear()
    assert shape_of(case.network) == (1, *few.inputs.shape[1:])
    assert (len(found.calibration), len(found.held_out)) == networks.DATA_SAMPLES
    known = {sample.numpy().tobytes() for sample in few.test_inputs}
    calibration, held_out = ({feed["x"].tobytes() for feed in part} for part in vars(found).values())
    assert (calibration | held_out) <= known
    assert not calibration & held_out
    assert np.array_equal(found.held_out[0]["x"][0], few.test_inputs[0].numpy())
    kept = sum(p.numel() for p in small.parameters()) / sum(p.numel() for p in dense.parameters())
    assert 0.1 < kept < 0.4
    assert not small.training


def test_shapes_are_those_of_the_clips():
    assert shape_of("trained-r3d") == (1, *moving_shapes.CLIP)
