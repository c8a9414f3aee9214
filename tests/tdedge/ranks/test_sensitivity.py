"""What a rank loses, against the errors themselves."""

import numpy as np
import pytest

from tdedge import formats
from tdedge.compress import LayerSite
from tdedge.factor import Factor
from tdedge.ranks.options import DENSE, Option
from tdedge.ranks.sensitivity import (
    gain,
    gain_scales,
    metric_scales,
    moment_error,
    option_errors,
    scaled,
    weight_error,
)

RNG = np.random.default_rng(0)
DENSE_LAYER = Factor(RNG.standard_normal((12, 8, 3, 3)), pads=((1, 1), (1, 1)))
SITE = LayerSite(DENSE_LAYER, (1, 8, 6, 6))
OPTIONS = [Option(DENSE, (), 1, 1), *(Option("tucker", (rank, rank), 1, 1) for rank in (6, 4, 2))]


def test_losses_grow_as_ranks_fall():
    errors = option_errors({"a": SITE}, {"a": OPTIONS})
    (losses,) = scaled(errors, gain_scales({"a": SITE})).values()
    assert losses[0] == 0
    assert losses == sorted(losses)
    chain = formats.get("tucker").decompose(DENSE_LAYER, (4, 4))
    own = gain(DENSE_LAYER)
    assert losses[2] == pytest.approx(chain.relative_error(DENSE_LAYER) ** 2 * own / (1 + own))


def test_gain_is_the_variance_of_the_outputs():
    x = RNG.standard_normal((8 * 9, 20000))
    y = DENSE_LAYER.kernel.reshape(12, -1) @ x
    assert gain(DENSE_LAYER) == pytest.approx(y.var(), rel=0.05)


def test_an_error_the_data_never_sees_costs_nothing():
    """Inputs that live in two of eight channels: what the others' weights lose does not matter."""
    kernel = DENSE_LAYER.kernel.copy()
    kernel[:, 2:] *= 0.1
    dense = Factor(kernel, pads=DENSE_LAYER.pads)
    chain = formats.get("tucker").decompose(dense, (2, 12))
    seen = np.zeros((8, 9, 8, 9))
    for channel in range(2):
        seen[channel, :, channel, :] = np.eye(9)
    patches = moment_error({"a": seen.reshape(72, 72)})("a", dense, chain)
    assert patches < 0.01 * weight_error("a", dense, chain)
    channels = moment_error({"a": np.diag([1.0, 1, 0, 0, 0, 0, 0, 0])})("a", dense, chain)
    assert channels == pytest.approx(patches)


def test_white_data_see_the_error_of_the_weights():
    chain = formats.get("cp").decompose(DENSE_LAYER, (10,))
    error = weight_error("a", DENSE_LAYER, chain)
    assert moment_error({"a": np.eye(72)})("a", DENSE_LAYER, chain) == pytest.approx(error)
    assert moment_error({"a": np.eye(8)})("a", DENSE_LAYER, chain) == pytest.approx(error)
    assert moment_error({})("a", DENSE_LAYER, chain) == error


def test_every_group_by_its_own_data():
    dense = Factor(RNG.standard_normal((8, 3, 3)), pads=((1, 1),), groups=2)
    chain = formats.get("svd").decompose(dense, (2,))
    one = moment_error({"a": np.stack([np.eye(9), np.zeros((9, 9))])})("a", dense, chain)
    first = dense.kernel[:4] - chain.reconstruct()[:4]
    assert one == pytest.approx(np.square(first).sum() / np.square(dense.kernel[:4]).sum())


def test_an_activated_chain_is_no_approximation():
    chain = formats.get("ntt").scratch(DENSE_LAYER, (4, 4, 4), seed=0)
    assert weight_error("a", DENSE_LAYER, chain) == 1.0


def test_scales_from_a_metric():
    errors = {"a": [0.0, 0.04, 0.2, 0.9], "b": [0.0, 0.3], "c": [0.0]}
    asked = []

    def drop(name, index):
        asked.append((name, index))
        return {"a": 0.1, "b": -0.01}[name]

    scales = metric_scales(errors, drop, least=0.003)
    assert asked == [("a", 2), ("b", 1)]
    assert scales == pytest.approx({"a": 0.5, "b": 0.01, "c": 0.0})
