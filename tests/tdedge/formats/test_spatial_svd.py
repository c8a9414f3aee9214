import numpy as np
import pytest

from tdedge.factor import Factor
from tdedge.formats import spatial_svd, svd


@pytest.mark.parametrize(
    ("kernel_size", "first", "rest"),
    [((3, 2), (3, 1), (1, 2)), ((2, 3, 4), (2, 1, 1), (1, 3, 4))],
    ids=str,
)
def test_the_first_axis_then_the_others(kernel_size, first, rest):
    dense = Factor(np.random.default_rng(0).normal(size=(8, 5, *kernel_size)), bias=np.ones(8))
    chain = spatial_svd.decompose(dense, (4,))
    assert [factor.kernel_size for factor in chain] == [first, rest]
    assert chain.params == 4 * (5 * np.prod(first) + 8 * np.prod(rest)) + 8
    matrix = np.moveaxis(dense.kernel, 0, 2).reshape(5 * kernel_size[0], -1)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert chain.relative_error(dense) == pytest.approx(
        np.linalg.norm(values[4:]) / np.linalg.norm(values), rel=1e-10
    )


@pytest.mark.parametrize("kernel_size", [(), (5,)], ids=str)
def test_without_a_second_axis_it_is_the_svd(kernel_size):
    dense = Factor(np.random.default_rng(0).normal(size=(8, 5, *kernel_size)))
    one, other = spatial_svd.decompose(dense, (3,)), svd.decompose(dense, (3,))
    assert spatial_svd.max_ranks(dense) == svd.max_ranks(dense)
    assert [f.kernel.shape for f in one] == [f.kernel.shape for f in other]
    np.testing.assert_allclose(one.reconstruct(), other.reconstruct(), atol=1e-12)


def test_the_ratio_refers_to_the_larger_channel_count():
    assert spatial_svd.channel_ranks(Factor(np.ones((64, 32, 3, 3)))) == (64,)
    assert spatial_svd.channel_ranks(Factor(np.ones((64, 3, 3, 3)))) == (9,)
