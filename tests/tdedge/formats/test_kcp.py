import numpy as np
import pytest

from tdedge.branches import add_branches
from tdedge.factor import Factor
from tdedge.formats import cp, kcp


@pytest.mark.parametrize(
    ("shape", "taps"),
    [
        ((9, 8), [(), ()]),
        ((9, 8, 5), [(1,), (5,), (1,)]),
        ((9, 8, 3, 5), [(1, 1), (3, 5), (1, 1)]),
        ((9, 8, 2, 3, 5), [(1, 1, 1), (1, 3, 5), (2, 1, 1), (1, 1, 1)]),
    ],
    ids=str,
)
def test_pointwise_depthwise_pointwise(shape, taps):
    dense = Factor(np.random.default_rng(0).normal(size=shape), bias=np.ones(9))
    chain = kcp.scratch(dense, (4,), seed=0)
    assert [factor.kernel_size for factor in chain] == taps
    assert [factor.is_depthwise for factor in chain] == [False, *[True] * (len(taps) - 2), False]
    assert chain.params == 4 * (9 + 8 + sum(int(np.prod(size)) for size in taps[1:-1])) + 9
    assert [f.kernel.shape for f in kcp.decompose(dense, (4,))] == [f.kernel.shape for f in chain]


@pytest.mark.parametrize("seed", range(4))
def test_planted_components_are_found(seed):
    rng = np.random.default_rng(seed)
    out, into, time, plane = (rng.normal(size=(size, 3)) for size in (9, 8, 3, 12))
    kernel = np.einsum("tq,sq,aq,pq->tsap", out, into, time, plane).reshape(9, 8, 3, 3, 4)
    dense = Factor(kernel)
    assert kcp.decompose(dense, (3,)).relative_error(dense) < 1e-4
    assert kcp.decompose(dense, (2,)).relative_error(dense) > 1e-2


def test_planes_need_fewer_components_than_lines():
    """A (kh, kw) depthwise factor holds any plane, CP's two lines only rank 1 of it."""
    rng = np.random.default_rng(0)
    kernel = np.einsum("t,s,ab->tsab", rng.normal(size=9), rng.normal(size=8), np.eye(3))
    dense = Factor(kernel)
    assert kcp.decompose(dense, (1,)).relative_error(dense) < 1e-6
    assert cp.decompose(dense, (1,)).relative_error(dense) > 0.5


def test_full_ranks():
    assert kcp.max_ranks(Factor(np.ones((9, 8, 2, 3, 3)))) == (8 * 2 * 9,)
    assert kcp.max_ranks(Factor(np.ones((3, 3, 3, 3)))) == (9,)
    assert kcp.channel_ranks(Factor(np.ones((9, 8, 2, 3, 3)))) == (9,)


def test_branches_add_up_to_one_wider_chain(torch_run):
    dense = Factor(np.zeros((5, 4, 2, 3, 3)), pads=((1, 0), (1, 1), (1, 1)), stride=(1, 2, 1))
    branches = [kcp.scratch(dense, (rank,), seed=rank) for rank in (2, 3)]
    wide = add_branches(branches)
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 6, 5))
    assert wide.ranks == (5, 5, 5)
    np.testing.assert_allclose(torch_run(wide, x), sum(torch_run(b, x) for b in branches), atol=1e-10)
