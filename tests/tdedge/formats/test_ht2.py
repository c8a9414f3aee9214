import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge.factor import Factor
from tdedge.formats import ht2, tt
from tdedge.ranks import energy


def conv(outputs=12, inputs=10, kernel_size=(3, 3), seed=0, dtype=np.float64):
    """A kernel whose singular values decay, so that rules have something to choose."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(outputs, inputs, *kernel_size))
    kernel *= np.geomspace(1, 0.05, outputs).reshape(-1, 1, *[1] * len(kernel_size))
    kernel *= np.geomspace(1, 0.1, inputs).reshape(-1, *[1] * len(kernel_size))
    return Factor(kernel.astype(dtype), bias=np.ones(outputs, dtype))


def test_it_is_the_published_tree():
    """X[s,i,t,j] = sum U1 G1 G2 U3, with orthonormal U1, U3 and node matrix."""
    dense = conv()
    chain = ht2.decompose(dense, (4, 6, 5))
    u1, g1, g2, u3 = (factor.kernel for factor in chain)
    rebuilt = np.einsum("as,rai,brj,tb->tsij", u1[..., 0, 0], g1[..., 0], g2[:, :, 0], u3[..., 0, 0])
    np.testing.assert_allclose(chain.reconstruct(), rebuilt, atol=1e-12)
    for matrix in (u1[..., 0, 0], u3[..., 0, 0].T, g1[..., 0].reshape(6, -1)):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)
    assert [factor.kernel_size for factor in chain] == [(1, 1), (3, 1), (1, 3), (1, 1)]
    assert chain.ranks == (4, 6, 5)
    assert chain.params == 10 * 4 + 3 * 4 * 6 + 3 * 6 * 5 + 5 * 12 + 12


def test_bases_are_those_of_the_original_unfoldings():
    dense = conv()
    chain = ht2.decompose(dense, (4, 6, 5))
    into = np.linalg.svd(dense.kernel.swapaxes(0, 1).reshape(10, -1))[0][:, :4]
    out = np.linalg.svd(dense.kernel.reshape(12, -1))[0][:, :5]
    overlap_in = chain.factors[0].kernel[..., 0, 0] @ into
    overlap_out = out.T @ chain.factors[3].kernel[..., 0, 0]
    np.testing.assert_allclose(np.abs(overlap_in), np.eye(4), atol=1e-10)
    np.testing.assert_allclose(np.abs(overlap_out), np.eye(5), atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 1), (1, 1), (3, 3, 3)], ids=str)
def test_full_ranks_rebuild_the_kernel(kernel_size, dtype, tolerance):
    dense = conv(kernel_size=kernel_size, dtype=dtype)
    chain = ht2.decompose(dense, ht2.max_ranks(dense))
    np.testing.assert_allclose(chain.reconstruct(), dense.kernel, atol=tolerance)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.99])
def test_the_energy_rule_on_a_given_kernel(share):
    """Computed here from the definition, on (S), (S, kh) and (T) of the original kernel."""
    kernel = conv().kernel
    x = kernel.transpose(1, 2, 0, 3)  # (S, kh, T, kw)
    expected = []
    for matrix in (x.reshape(10, -1), x.reshape(30, -1), kernel.reshape(12, -1)):
        squares = np.linalg.eigvalsh(matrix @ matrix.T)[::-1]
        held, rank = 0.0, 0
        while held <= share * squares.sum():
            held += squares[rank]
            rank += 1
        expected.append(rank)
    ranks = energy.choose(Factor(kernel), ht2, share)
    assert ranks == tuple(expected)
    assert ht2.decompose(Factor(kernel), ranks).ranks == tuple(expected)


@settings(max_examples=40, deadline=None)
@given(ranks=st.tuples(*[st.integers(1, 40)] * 3), shape=st.tuples(*[st.integers(1, 9)] * 2))
def test_a_node_rank_above_the_projected_matrix_is_clamped(ranks, shape):
    dense = conv(*shape)
    first, middle, last = ht2.decompose(dense, ranks).ranks
    assert first <= shape[1] and last <= shape[0]
    assert middle == min(ranks[1], 3 * first, 3 * last)


def test_it_is_a_train_away_from_two_axes():
    for kernel_size in ((), (3,), (2, 3, 3)):
        dense = conv(kernel_size=kernel_size)
        ranks = [max(1, rank // 2) for rank in tt.max_ranks(dense)]
        one, other = ht2.decompose(dense, ranks), tt.decompose(dense, ranks)
        assert ht2.max_ranks(dense) == tt.max_ranks(dense)
        assert (one.format, other.format) == ("ht2", "tt")
        assert all(np.array_equal(a.kernel, b.kernel) for a, b in zip(one, other, strict=True))


def test_channel_ranks_and_unfoldings_follow_the_order_of_the_links():
    dense = conv()
    assert ht2.max_ranks(dense) == (10, 30, 12)
    assert ht2.channel_ranks(dense) == (10, 12, 12)
    assert [matrix.shape for matrix in ht2.unfoldings(dense)] == [(10, 108), (30, 36), (12, 90)]
