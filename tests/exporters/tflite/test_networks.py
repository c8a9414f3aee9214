"""Whole networks, dense and in every format: LiteRT against torch in float64, all of it delegated."""

import copy

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

#: Untrained chains with an activation at every link, tens of them: float32 itself does not hold 1e-5 there.
CHAOTIC = {(n, "ntt") for n in ("mobilenet_v2", "efficientnet_b0", "unet2d", "r3d_18", "r2plus1d_18")}


def check(module: nn.Module, example: torch.Tensor, *, chaotic: bool = False) -> LoweredFile:
    """Lower, run on two inputs, compare every output; the file.

    Where rounding is known to be amplified (``chaotic``), the bound is four times what torch itself errs by
    in float32, if that is more.
    """
    model = prepare(module.eval(), None, example=example).model
    file = lowered(model)
    rng = np.random.default_rng(5)
    exact = copy.deepcopy(module).double()
    (name,) = (value.name for value in model.graph.inputs)
    outputs = [value.name for value in model.graph.outputs]
    triples: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {name: [] for name in outputs}
    for _ in range(2):
        x = rng.standard_normal(example.shape).astype(np.float32)
        got = file.run({name: x})
        with torch.no_grad():
            expected, rounded = exact(torch.from_numpy(x).double()), module(torch.from_numpy(x))
        for output, wanted, near in zip(outputs, _listed(expected), _listed(rounded), strict=True):
            triples[output].append((got[output], wanted.numpy(), near.numpy()))
    for compared in triples.values():
        scale = max(np.abs(wanted).max() for _, wanted, _ in compared)
        noise = max(np.abs(near - wanted).max() for _, wanted, near in compared)
        for value, wanted, _ in compared:
            assert value.shape == wanted.shape
            assert np.ptp(wanted) > 1e-2 * scale
            bound = max(TOLERANCE * scale, 4 * noise if chaotic else 0.0)
            assert np.abs(value - wanted).max() <= bound
        assert np.abs(compared[0][1] - compared[1][1]).max() > 1e-3 * scale  # the input matters
    assert file.plan == ["DELEGATE"]
    assert "CONV_3D" not in file.ops
    ends = (*file.interpreter.get_input_details(), *file.interpreter.get_output_details())
    many = [d["name"] for d in file.interpreter.get_tensor_details() if len(d["shape"]) > 4]
    assert set(many) <= {end["name"] for end in ends}
    return file


def _listed(outputs):
    return outputs if isinstance(outputs, tuple | list) else (outputs,)


@pytest.mark.parametrize("name", NETWORKS)
def test_dense(name):
    network = NETWORKS[name]
    check(network.factory(), torch.zeros(network.input_shape))


@pytest.mark.parametrize(("name", "fmt"), PAIRS)
def test_decomposed(name, fmt):
    made = decomposed(name, fmt)
    check(made.module, made.example, chaotic=(name, fmt) in CHAOTIC)


@pytest.mark.parametrize("make", [thetis.dense, thetis.compressed])
def test_thetis(make):
    check(make(), torch.zeros(thetis.INPUT_SHAPE))
