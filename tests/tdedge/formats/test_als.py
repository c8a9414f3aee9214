import tracemalloc
from functools import reduce

import numpy as np
import pytest

from tdedge.formats import als


def rebuilt(factors):
    components = zip(*(factor.T for factor in factors), strict=True)
    return sum(reduce(np.multiply.outer, component) for component in components)


def error(tensor, factors):
    return np.linalg.norm(tensor - rebuilt(factors)) / np.linalg.norm(tensor)


def components_norm(factors):
    """Root of the sum of the components' squared norms: what roundings of single components scale with."""
    return np.sqrt(np.prod([np.sum(factor**2, axis=0) for factor in factors], axis=0).sum())


@pytest.mark.parametrize("shape", [(4, 3), (3, 4, 2), (2, 5, 3, 3), (2, 2, 6, 2, 3)], ids=str)
def test_full_rank_is_exact(shape):
    tensor = np.random.default_rng(0).normal(size=shape)
    assert als.full_rank(shape) == np.prod(shape) // max(shape)
    factors = als.fit(tensor, als.full_rank(shape))
    assert [factor.shape[0] for factor in factors] == list(shape)
    np.testing.assert_array_equal(rebuilt(factors), tensor)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_the_fit_does_not_depend_on_the_scale(scale):
    tensor = np.random.default_rng(0).normal(size=(6, 5, 3, 3))
    assert error(scale * tensor, als.fit(scale * tensor, 4)) == pytest.approx(
        error(tensor, als.fit(tensor, 4)), rel=1e-3
    )


def test_modes_come_back_in_their_order():
    tensor = np.random.default_rng(0).normal(size=(3, 7, 2, 5))
    assert [factor.shape for factor in als.fit(tensor, 4)] == [(3, 4), (7, 4), (2, 4), (5, 4)]


def test_components_stay_bounded_where_no_best_fit_exists():
    """A tensor of rank 3 and border rank 2: the infimum at rank 2 is reached only by infinite components."""
    a, b = np.eye(4)[:2]
    tensor = sum(reduce(np.multiply.outer, modes) for modes in ((a, a, b), (a, b, a), (b, a, a)))
    factors = als.fit(tensor, 2)
    lengths = np.prod([np.linalg.norm(factor, axis=0) for factor in factors], axis=0)
    assert error(tensor, factors) < 0.1
    assert lengths.max() < 100 * np.linalg.norm(tensor)
    assert error(tensor, als.fit(tensor, 3)) < 1e-3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("shape", "rank"), [((16, 16, 3, 3), 24), ((8, 8, 3, 3, 3), 24)], ids=str)
def test_components_of_a_coarse_fit_hardly_cancel(shape, rank, seed, monkeypatch):
    """Against least squares with next to no ridge: the error is no larger, the components are."""
    tensor = np.random.default_rng(seed).normal(size=shape)
    bounded = als.fit(tensor, rank)
    monkeypatch.setattr(als, "_SHARES", als._SHARES[:1])
    plain = als.fit(tensor, rank)
    assert error(tensor, bounded) <= 1.01 * error(tensor, plain)
    assert components_norm(bounded) < 1.4 * np.linalg.norm(tensor)
    assert components_norm(bounded) < 0.75 * components_norm(plain)


def test_components_have_equal_length_in_every_mode():
    factors = als.fit(np.random.default_rng(0).normal(size=(6, 5, 3, 3)), 4)
    lengths = np.array([np.linalg.norm(factor, axis=0) for factor in factors])
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), rtol=1e-10)


def test_more_components_than_a_mode_has_entries():
    tensor = np.random.default_rng(0).normal(size=(6, 5, 3, 3))
    errors = [error(tensor, als.fit(tensor, rank)) for rank in (2, 8, 20, 30)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2


def test_memory_follows_the_longest_mode():
    """R * n / longest numbers beside a few copies of the tensor, not R * n / taps."""
    tensor = np.random.default_rng(0).normal(size=(128, 128, 3, 3))
    rank = 64
    tracemalloc.start()
    als.fit(tensor, rank)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * tensor.nbytes + 6 * rank * tensor.nbytes // 128 < rank * tensor.nbytes // 3
