import numpy as np
import pytest

from tdedge.factor import Factor
from tdedge.formats import tucker1

CONV = Factor(np.random.default_rng(0).normal(size=(8, 5, 3, 3)), bias=np.ones(8))


def test_it_is_the_best_approximation_of_the_input_unfolding():
    chain = tucker1.decompose(CONV, (3,))
    values = np.linalg.svd(CONV.kernel.swapaxes(0, 1).reshape(5, -1), compute_uv=False)
    assert chain.relative_error(CONV) == pytest.approx(
        np.linalg.norm(values[3:]) / np.linalg.norm(values), rel=1e-10
    )


def test_the_taps_come_last():
    first, last = tucker1.decompose(CONV, (3,))
    assert first.kernel.shape == (3, 5, 1, 1) and last.kernel.shape == (8, 3, 3, 3)
    assert tucker1.decompose(CONV, (3,)).params == 3 * (5 + 8 * 9) + 8


def test_counts_of_a_published_linear_layer():
    """Third stage of the THETIS network, 128 -> 1 -> 84: 296 parameters, 423 FLOPs, 212 MACs."""
    dense = Factor(np.random.default_rng(0).normal(size=(84, 128)), bias=np.zeros(84))
    chain = tucker1.decompose(dense, (1,))
    assert chain.params == 128 * 1 + 1 * 84 + 84 == 296
    assert (chain.flops((1, 128)), chain.macs((1, 128))) == (423, 212)
    values = np.linalg.svd(dense.kernel, compute_uv=False)
    assert chain.relative_error(dense) == pytest.approx(np.sqrt(1 - values[0] ** 2 / (values**2).sum()))


@pytest.mark.parametrize(("shape", "full"), [((8, 5, 3, 3), 5), ((2, 50, 3, 3), 18), ((84, 128), 84)])
def test_full_ranks(shape, full):
    assert tucker1.max_ranks(Factor(np.ones(shape))) == (full,)
    assert tucker1.channel_ranks(Factor(np.ones(shape))) == (full,)
