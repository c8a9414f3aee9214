import numpy as np
import pytest

from tdedge.compose import NotExactError
from tdedge.factor import Factor
from tdedge.formats import ntt, tt

KERNEL_SIZES = [(), (3,), (3, 3), (2, 3, 3)]


def layer(kernel_size):
    rng = np.random.default_rng(0)
    return Factor(rng.normal(size=(6, 5, *kernel_size)), bias=rng.normal(size=6), activation="sigmoid")


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_it_is_the_train_with_relu_on_every_inner_link(kernel_size):
    dense = layer(kernel_size)
    ranks = [max(1, rank - 1) for rank in tt.max_ranks(dense)]
    chain, train = ntt.decompose(dense, ranks), tt.decompose(dense, ranks)
    assert [factor.activation for factor in chain] == ["relu"] * (len(train) - 1) + ["sigmoid"]
    for one, other in zip(chain, train, strict=True):
        np.testing.assert_array_equal(one.kernel, other.kernel)
        assert (one.stride, one.pads, one.dilation) == (other.stride, other.pads, other.dilation)


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_it_has_no_dense_kernel(kernel_size):
    dense = layer(kernel_size)
    chain = ntt.scratch(dense, ntt.max_ranks(dense), seed=0)
    assert not chain.is_linear
    with pytest.raises(NotExactError, match="activation"):
        chain.reconstruct()


def test_the_activations_change_the_function(torch_run):
    """Documented: no approximation of the dense layer, even at full ranks."""
    dense = layer((3, 3))
    x = np.random.default_rng(1).normal(size=(2, 5, 6, 6))
    chain = ntt.decompose(dense, ntt.max_ranks(dense))
    assert np.abs(torch_run(chain, x) - torch_run(dense, x)).max() > 1e-2


def test_ranks_are_those_of_the_train():
    dense = layer((3, 3))
    assert ntt.max_ranks(dense) == tt.max_ranks(dense)
    assert ntt.channel_ranks(dense) == tt.channel_ranks(dense)
    for one, other in zip(ntt.unfoldings(dense), tt.unfoldings(dense), strict=True):
        np.testing.assert_array_equal(one, other)
