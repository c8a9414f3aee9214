import numpy as np
import pytest

from tdedge.factor import Factor
from tdedge.formats import tt


def planted(outputs, inputs, kernel_size, ranks, seed=0):
    """Kernel (T, S, *k) of a train with these ranks."""
    rng = np.random.default_rng(seed)
    train = rng.normal(size=(inputs, ranks[0]))
    for taps, left, right in zip(kernel_size, ranks, ranks[1:], strict=False):
        train = np.tensordot(train, rng.normal(size=(left, taps, right)), 1)
    return Factor(np.moveaxis(np.tensordot(train, rng.normal(size=(ranks[-1], outputs)), 1), -1, 0))


@pytest.mark.parametrize(
    ("kernel_size", "ranks"), [((), (2,)), ((3,), (2, 3)), ((3, 3), (2, 4, 3)), ((2, 3, 3), (2, 3, 5, 4))]
)
def test_planted_ranks_are_exact(kernel_size, ranks):
    dense = planted(9, 8, kernel_size, ranks)
    chain = tt.decompose(dense, ranks)
    assert chain.ranks == ranks
    assert chain.relative_error(dense) < 1e-12
    assert tt.decompose(dense, [*ranks[:-1], ranks[-1] - 1]).relative_error(dense) > 1e-2


@pytest.mark.parametrize(
    ("shape", "taps", "full"),
    [
        ((9, 8), [(), ()], (8,)),
        ((9, 8, 3), [(1,), (3,), (1,)], (8, 9)),
        ((9, 8, 3, 2), [(1, 1), (3, 1), (1, 2), (1, 1)], (8, 18, 9)),
        (
            (9, 8, 2, 3, 4),
            [(1, 1, 1), (2, 1, 1), (1, 3, 1), (1, 1, 4), (1, 1, 1)],
            (8, 16, 36, 9),
        ),
    ],
    ids=str,
)
def test_one_core_per_mode(shape, taps, full):
    dense = Factor(np.random.default_rng(0).normal(size=shape))
    assert tt.max_ranks(dense) == full
    assert [factor.kernel_size for factor in tt.decompose(dense, full)] == taps


def test_ranks_are_clamped_one_after_the_other():
    dense = Factor(np.random.default_rng(0).normal(size=(16, 16, 3, 3)))
    assert tt.decompose(dense, (2, 48, 16)).ranks == (2, 6, 16)
    assert tt.decompose(dense, (16, 1, 16)).ranks == (16, 1, 3)


def test_parameters():
    dense = Factor(np.random.default_rng(0).normal(size=(16, 12, 3, 5)), bias=np.ones(16))
    chain = tt.decompose(dense, (4, 6, 5))
    assert chain.params == 12 * 4 + 3 * 4 * 6 + 5 * 6 * 5 + 5 * 16 + 16


def test_truncation_errors_obey_the_bound_of_tt_svd():
    """|W - TT|^2 is at most the sum of the tails of the cuts (Oseledets 2011, theorem 2.2)."""
    dense = Factor(np.random.default_rng(0).normal(size=(9, 8, 3, 3)))
    ranks = (5, 9, 6)
    tails = [
        (np.linalg.svd(matrix, compute_uv=False)[rank:] ** 2).sum()
        for matrix, rank in zip(tt.unfoldings(dense), ranks, strict=True)
    ]
    error = tt.decompose(dense, ranks).relative_error(dense) * np.linalg.norm(dense.kernel)
    assert max(tails) ** 0.5 <= error <= sum(tails) ** 0.5


def test_unfoldings_cut_the_kernel_at_each_link():
    kernel = np.random.default_rng(0).normal(size=(4, 5, 2, 3))
    first, second, third = tt.unfoldings(Factor(kernel))
    assert (first.shape, second.shape, third.shape) == ((5, 24), (10, 12), (4, 30))
    train = np.moveaxis(kernel, 0, -1)
    for matrix, rows in ((first, 5), (second, 10), (third, 30)):
        values = np.linalg.svd(train.reshape(rows, -1), compute_uv=False)
        np.testing.assert_allclose(np.linalg.svd(matrix, compute_uv=False), values, rtol=1e-10)


def test_channel_ranks():
    assert tt.channel_ranks(Factor(np.ones((64, 32, 3, 3)))) == (32, 64, 64)
    assert tt.channel_ranks(Factor(np.ones((64, 3, 3, 3)))) == (3, 9, 27)
    assert tt.channel_ranks(Factor(np.ones((64, 32, 3, 3, 3)))) == (32, 64, 64, 64)
    assert tt.channel_ranks(Factor(np.ones((64, 32)))) == (32,)
