import numpy as np
import pytest

from tdedge.factor import Factor
from tdedge.formats import svd, tucker


def planted(outputs, inputs, kernel_size, rank_in, rank_out, seed=0):
    rng = np.random.default_rng(seed)
    core = rng.normal(size=(rank_out, rank_in, *kernel_size))
    into, out = rng.normal(size=(inputs, rank_in)), rng.normal(size=(outputs, rank_out))
    return Factor(np.einsum("tr,si,ri...->ts...", out, into, core))


@pytest.mark.parametrize("kernel_size", [(3,), (3, 3), (2, 3, 3)], ids=str)
def test_planted_ranks_are_exact(kernel_size):
    dense = planted(12, 10, kernel_size, 2, 3)
    assert tucker.decompose(dense, (2, 3)).relative_error(dense) < 1e-12
    assert tucker.decompose(dense, (2, 2)).relative_error(dense) > 1e-2
    assert tucker.decompose(dense, (1, 3)).relative_error(dense) > 1e-2


def test_iteration_is_no_worse_than_the_hosvd():
    kernel = np.random.default_rng(0).normal(size=(12, 10, 3, 3))
    out = np.linalg.svd(kernel.reshape(12, -1))[0][:, :3]
    into = np.linalg.svd(kernel.swapaxes(0, 1).reshape(10, -1))[0][:, :2]
    hosvd = np.einsum("tr,ur,si,vi,uvab->tsab", out, out, into, into, kernel)
    error = np.linalg.norm(kernel - hosvd) / np.linalg.norm(kernel)
    assert tucker.decompose(Factor(kernel), (2, 3)).relative_error(Factor(kernel)) < error


@pytest.mark.parametrize(
    ("shape", "ranks", "params", "flops", "pads", "size"),
    [
        ((6, 4, 5, 11, 11), (2, 2), 2_446, 2_621_337_600, ((2, 2), (5, 5), (5, 5)), (28, 120, 160)),
        ((16, 6, 3, 5, 5), (2, 3), 526, 11_522_976, (), (14, 30, 40)),
        ((128, 16, 6, 6, 9), (4, 7), 10_160, 60_105, (), (6, 6, 9)),
    ],
    ids=["conv1", "conv2", "l1"],
)
def test_counts_of_published_layers(shape, ranks, params, flops, pads, size):
    """The three decomposed convolutions of the THETIS network (arXiv 2203.07033)."""
    rng = np.random.default_rng(0)
    dense = Factor(rng.normal(size=shape), pads=pads, bias=np.zeros(shape[0]))
    chain = tucker.decompose(dense, ranks)
    assert chain.ranks == ranks
    assert chain.params == params
    assert chain.flops((1, shape[1], *size)) == flops


def test_ranks_beyond_what_the_core_can_use_are_clamped():
    dense = Factor(np.random.default_rng(0).normal(size=(30, 30, 2)))
    assert tucker.decompose(dense, (30, 1)).ranks == (2, 1)
    assert tucker.decompose(dense, (1, 30)).ranks == (1, 2)


def test_clamping_loses_nothing():
    """At R_out = 1 all that can be kept of the input mode is its L directions."""
    dense = Factor(np.random.default_rng(0).normal(size=(30, 30, 2)))
    one_sided = svd.decompose(dense, (1,)).relative_error(dense)
    assert tucker.decompose(dense, (30, 1)).relative_error(dense) == pytest.approx(one_sided, rel=1e-3)


def test_a_linear_layer_is_one_svd_at_the_smaller_rank():
    dense = Factor(np.random.default_rng(0).normal(size=(9, 12)), bias=np.ones(9))
    chain = tucker.decompose(dense, (5, 3))
    assert chain.ranks == (3,)
    np.testing.assert_allclose(chain.reconstruct(), svd.decompose(dense, (3,)).reconstruct(), atol=1e-12)


def test_rank_order_is_that_of_the_links():
    dense = Factor(np.ones((8, 5, 3, 3)))
    assert tucker.max_ranks(dense) == tucker.channel_ranks(dense) == (5, 8)
    assert [matrix.shape for matrix in tucker.unfoldings(dense)] == [(5, 72), (8, 45)]
