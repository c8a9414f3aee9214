"""Whole networks, dense and in every format: LiteRT against torch in float64, all of it delegated."""

import numpy as np
import pytest
import torch
from models.catalogue import NETWORKS
from support.decompositions import PAIRS, decomposed
from support.lowering_tflite import LoweredFile, lowered
from torch import nn

from tdedge.networks import thetis
from tdedge_exporters.prepare import prepare

TOLERANCE = 1e-5


def check(module: nn.Module, example: torch.Tensor) -> LoweredFile:
    """Lower, run on two inputs, compare every output; the file."""
    model = prepare(module.eval(), None, example=example).model
    file = lowered(model)
    rng = np.random.default_rng(5)
    exact = module.double()
    (name,) = (value.name for value in model.graph.inputs)
    outputs = [value.name for value in model.graph.outputs]
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {output: [] for output in outputs}
    for _ in range(2):
        x = rng.standard_normal(example.shape).astype(np.float32)
        got = file.run({name: x})
        with torch.no_grad():
            expected = exact(torch.from_numpy(x).double())
        expected = expected if isinstance(expected, tuple | list) else (expected,)
        for output, wanted in zip(outputs, expected, strict=True):
            pairs[output].append((got[output], wanted.numpy()))
    for both in pairs.values():
        scale = max(np.abs(wanted).max() for _, wanted in both)
        for value, wanted in both:
            assert value.shape == wanted.shape
            assert np.ptp(wanted) > 1e-2 * scale
            assert np.abs(value - wanted).max() <= TOLERANCE * scale
        assert np.abs(both[0][1] - both[1][1]).max() > 1e-3 * scale  # the input matters
    assert file.plan == ["DELEGATE"]
    assert "CONV_3D" not in file.ops
    ends = (*file.interpreter.get_input_details(), *file.interpreter.get_output_details())
    many = [d["name"] for d in file.interpreter.get_tensor_details() if len(d["shape"]) > 4]
    assert set(many) <= {end["name"] for end in ends}
    return file


@pytest.mark.parametrize("name", NETWORKS)
def test_dense(name):
    network = NETWORKS[name]
    check(network.factory(), torch.zeros(network.input_shape))


@pytest.mark.parametrize(("name", "fmt"), PAIRS)
def test_decomposed(name, fmt):
    made = decomposed(name, fmt)
    check(made.module, made.example)


@pytest.mark.parametrize("make", [thetis.dense, thetis.compressed])
def test_thetis(make):
    check(make(), torch.zeros(thetis.INPUT_SHAPE))
