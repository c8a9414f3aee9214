import numpy as np
import pytest

from tdedge.factor import Factor
from tdedge.formats import cp, svd


def planted(outputs, inputs, kernel_size, rank, seed=0):
    """Kernel with ``rank`` components."""
    rng = np.random.default_rng(seed)
    kernel = np.zeros((outputs, inputs, *kernel_size))
    for _ in range(rank):
        component = np.ones(())
        for size in kernel.shape:
            component = np.multiply.outer(component, rng.normal(size=size))
        kernel += component
    return Factor(kernel, bias=np.ones(outputs))


@pytest.mark.parametrize("kernel_size", [(5,), (3, 3), (3, 3, 3)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_planted_components_are_found(kernel_size, seed):
    dense = planted(9, 8, kernel_size, 3, seed)
    assert cp.decompose(dense, (3,)).relative_error(dense) < 1e-4
    assert cp.decompose(dense, (2,)).relative_error(dense) > 1e-2


@pytest.mark.parametrize(
    ("shape", "taps"),
    [
        ((9, 8, 5), [(1,), (5,), (1,)]),
        ((9, 8, 3, 5), [(1, 1), (3, 1), (1, 5), (1, 1)]),
        ((9, 8, 2, 3, 5), [(1, 1, 1), (2, 1, 1), (1, 3, 1), (1, 1, 5), (1, 1, 1)]),
    ],
    ids=str,
)
def test_one_depthwise_factor_per_axis(shape, taps):
    dense = Factor(np.random.default_rng(0).normal(size=shape), bias=np.ones(9))
    chain = cp.decompose(dense, (4,))
    assert [factor.kernel_size for factor in chain] == taps
    assert [factor.is_depthwise for factor in chain] == [False, *[True] * (len(taps) - 2), False]
    assert chain.params == 4 * (9 + 8 + sum(shape[2:])) + 9


def test_pointwise_and_linear_layers_get_the_truncated_svd():
    matrix = np.random.default_rng(0).normal(size=(9, 8))
    best = svd.decompose(Factor(matrix), (3,)).reconstruct()
    linear = cp.decompose(Factor(matrix), (3,))
    assert len(linear) == 2
    np.testing.assert_allclose(linear.reconstruct(), best, atol=1e-12)
    pointwise = cp.decompose(Factor(matrix[..., None, None]), (3,)).reconstruct()[..., 0, 0]
    np.testing.assert_allclose(np.linalg.norm(matrix - pointwise), np.linalg.norm(matrix - best), rtol=1e-3)


def test_ranks():
    assert cp.max_ranks(Factor(np.ones((9, 8, 3, 5)))) == (120,)
    assert cp.max_ranks(Factor(np.ones((2, 8, 3, 5)))) == (30,)
    assert cp.channel_ranks(Factor(np.ones((9, 8, 3, 5)))) == (9,)
    assert cp.channel_ranks(Factor(np.ones((64, 1, 3, 3)))) == (9,)


def test_the_unfolding_is_that_of_the_larger_channel_mode():
    assert cp.unfoldings(Factor(np.ones((9, 8, 3, 3))))[0].shape == (9, 72)
    assert cp.unfoldings(Factor(np.ones((4, 8, 3, 3))))[0].shape == (8, 36)
