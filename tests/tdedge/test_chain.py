import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge.chain import Chain
from tdedge.compose import NotExactError
from tdedge.errors import UsageError
from tdedge.factor import Factor


def tucker_like(rng, bias=True):
    return Chain(
        (
            Factor(rng.normal(size=(2, 4, 1, 1, 1))),
            Factor(rng.normal(size=(2, 2, 5, 3, 3)), pads=((2, 2), (1, 1), (1, 1))),
            Factor(rng.normal(size=(6, 2, 1, 1, 1)), bias=rng.normal(size=6) if bias else None),
        ),
        "tucker",
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_dense_chain_equals_the_chain(data, factors, inputs, torch_run):
    """Biased only at the end and padded only where nothing before extends: always exact."""
    rank = data.draw(st.integers(0, 3))
    core = data.draw(factors(rank, bias=False))
    before = np.random.default_rng(1).normal(size=(core.in_channels, 3, *[1] * rank))
    after = np.random.default_rng(2).normal(size=(4, core.out_channels, *[1] * rank))
    chain = Chain((Factor(before), core, Factor(after, bias=np.arange(4.0))))
    x = data.draw(inputs(chain))
    y = torch_run(chain, x)
    assert chain.output_shape(x.shape) == y.shape
    np.testing.assert_allclose(torch_run(chain.dense(), x), y, atol=1e-10 * max(1.0, np.abs(y).max()))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_costs_are_the_sums_over_the_factors(data, factors, inputs):
    first = data.draw(factors())
    second = data.draw(factors(first.spatial_rank, first.out_channels, 1))
    chain = Chain((first, second))
    x = data.draw(inputs(chain))
    middle = first.output_shape(x.shape)
    assert chain.shapes(x.shape) == [x.shape, middle, second.output_shape(middle)]
    assert chain.macs(x.shape) == first.macs(x.shape) + second.macs(middle)
    assert chain.flops(x.shape) == first.flops(x.shape) + second.flops(middle)
    assert chain.params == first.params + second.params
    elements = [np.prod(shape) for shape in chain.shapes(x.shape)]
    assert chain.peak_activation_bytes(x.shape, 2) == 2 * max(
        elements[0] + elements[1], elements[1] + elements[2]
    )


def test_counts_of_a_published_chain():
    """First layer of the THETIS network, decomposed 4 -> 2 -> 2 -> 6."""
    chain = Chain(
        (
            Factor(np.zeros((2, 4, 1, 1, 1))),
            Factor(np.zeros((2, 2, 5, 11, 11)), pads=((2, 2), (5, 5), (5, 5))),
            Factor(np.zeros((6, 2, 1, 1, 1)), bias=np.zeros(6)),
        )
    )
    shape = (1, 4, 28, 120, 160)
    assert chain.params == 2_446
    assert chain.macs(shape) == 1_311_744_000
    assert chain.flops(shape) == 2_621_337_600
    assert chain.peak_activation_bytes(shape) == 4 * 28 * 120 * 160 * 8


def test_reconstruct_is_the_contraction():
    chain = tucker_like(np.random.default_rng(0))
    a, core, c = (factor.kernel for factor in chain)
    expected = np.einsum("tr,rsabc,si->tiabc", c[..., 0, 0, 0], core, a[..., 0, 0, 0])
    np.testing.assert_allclose(chain.reconstruct(), expected, atol=1e-12)
    assert chain.ranks == (2, 2)
    assert (chain.in_channels, chain.out_channels, len(chain)) == (4, 6, 3)


def test_relative_error_is_that_of_the_kernels():
    chain = tucker_like(np.random.default_rng(0))
    dense = chain.dense()
    assert chain.relative_error(dense) < 1e-14
    doubled = Factor(2 * dense.kernel)
    assert chain.relative_error(doubled) == pytest.approx(0.5)


def test_segments_compose_neighbours():
    chain = tucker_like(np.random.default_rng(0))
    assert chain.segment(0, 2).kernel.shape == (2, 4, 5, 3, 3)
    assert chain.segment(1, 2) is chain.factors[1]


def test_an_activated_link_has_no_dense_kernel():
    first = Factor(np.ones((2, 3)), activation="relu")
    chain = Chain((first, Factor(np.ones((4, 2)))))
    assert not chain.is_linear
    with pytest.raises(NotExactError, match="relu"):
        chain.reconstruct()
    assert Chain((first,)).is_linear


def test_neighbours_must_fit():
    with pytest.raises(UsageError, match="2 channels"):
        Chain((Factor(np.ones((2, 3))), Factor(np.ones((2, 3)))))
    with pytest.raises(UsageError, match="spatial axes"):
        Chain((Factor(np.ones((3, 3))), Factor(np.ones((2, 3, 1)))))
    with pytest.raises(UsageError, match="at least one"):
        Chain(())


def test_astype_converts_every_factor():
    chain = tucker_like(np.random.default_rng(0)).astype(np.float32)
    assert {factor.kernel.dtype for factor in chain} == {np.dtype(np.float32)}
    assert chain.format == "tucker"
