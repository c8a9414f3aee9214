import numpy as np
import pytest

from tdedge.factor import Factor
from tdedge.formats import svd

CONV = Factor(np.random.default_rng(0).normal(size=(8, 5, 3, 3)), bias=np.ones(8))


def test_it_is_the_best_approximation_of_the_output_unfolding():
    chain = svd.decompose(CONV, (3,))
    values = np.linalg.svd(CONV.kernel.reshape(8, -1), compute_uv=False)
    assert chain.relative_error(CONV) == pytest.approx(
        np.linalg.norm(values[3:]) / np.linalg.norm(values), rel=1e-10
    )


def test_the_taps_come_first():
    first, last = svd.decompose(CONV, (3,))
    assert first.kernel.shape == (3, 5, 3, 3) and last.kernel.shape == (8, 3, 1, 1)
    assert svd.decompose(CONV, (3,)).params == 3 * (5 * 9 + 8) + 8


def test_a_linear_layer_is_its_truncated_svd():
    dense = Factor(np.random.default_rng(0).normal(size=(84, 128)), bias=np.ones(84))
    chain = svd.decompose(dense, (10,))
    u, s, v = np.linalg.svd(dense.kernel, full_matrices=False)
    np.testing.assert_allclose(chain.reconstruct(), u[:, :10] * s[:10] @ v[:10], atol=1e-12)
    assert chain.params == 10 * (128 + 84) + 84


@pytest.mark.parametrize(("shape", "full"), [((8, 5, 3, 3), 8), ((80, 5, 3, 3), 45), ((84, 128), 84)])
def test_full_ranks(shape, full):
    assert svd.max_ranks(Factor(np.ones(shape))) == svd.channel_ranks(Factor(np.ones(shape))) == (full,)
