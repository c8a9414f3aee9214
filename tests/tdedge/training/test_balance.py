"""Balancing moves scales along links and changes nothing else."""

import numpy as np
import pytest

from tdedge.chain import Chain
from tdedge.factor import Factor
from tdedge.formats import get
from tdedge.training.balance import balanced

RNG = np.random.default_rng(2)


def skewed(name, ranks, groups=1) -> Chain:
    """A chain whose links carry scales of 100 to 1000, all in front of them."""
    dense = Factor(RNG.normal(size=(6 * groups, 4, 3, 3)), groups=groups, bias=RNG.normal(size=6 * groups))
    factors = list(get(name).decompose(dense, ranks))
    for index in range(len(factors) - 1):
        scale = 10.0 ** RNG.uniform(2, 3, factors[index].out_channels)
        front, behind = factors[index], factors[index + 1]
        shape = (behind.groups, behind.out_channels // behind.groups, -1, *behind.kernel.shape[2:])
        moved = behind.kernel.reshape(shape) / scale.reshape(behind.groups, 1, -1, 1, 1)
        factors[index] = Factor(front.kernel * scale[:, None, None, None], groups=front.groups)
        factors[index + 1] = Factor(
            moved.reshape(behind.kernel.shape), groups=behind.groups, bias=behind.bias
        )
    return Chain(tuple(factors), name)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("name", "ranks"), [("cp", (5,)), ("kcp", (5,)), ("tucker", (3, 4)), ("tt", (3, 4, 4))]
)
def test_same_kernel_even_norms(name, ranks, groups):
    chain = skewed(name, ranks, groups)
    even = balanced(chain)
    scale = np.abs(chain.reconstruct()).max()
    assert np.abs(even.reconstruct() - chain.reconstruct()).max() <= 1e-9 * scale
    assert np.array_equal(even.factors[-1].bias, chain.factors[-1].bias)

    def spread(of: Chain) -> float:
        norms = [np.linalg.norm(factor.kernel) for factor in of]
        return max(norms) / min(norms)

    assert spread(even) < 10 < 100 < spread(chain)


def test_components_of_cp_carry_the_same_in_every_factor():
    even = balanced(skewed("cp", (5,)))
    norms = [
        np.linalg.norm(even.factors[0].kernel[:, :, 0, 0], axis=1),
        np.linalg.norm(even.factors[1].kernel.reshape(5, -1), axis=1),
        np.linalg.norm(even.factors[2].kernel.reshape(5, -1), axis=1),
        np.linalg.norm(even.factors[3].kernel[:, :, 0, 0], axis=0),
    ]
    for other in norms[1:]:
        assert other == pytest.approx(norms[0], rel=1e-2)


def test_activated_links_and_dead_channels_stay():
    ntt = get("ntt").decompose(Factor(RNG.normal(size=(6, 4, 3, 3))), (3, 4, 4))
    for mine, original in zip(balanced(ntt), ntt, strict=True):
        assert np.array_equal(mine.kernel, original.kernel)
    first = RNG.normal(size=(3, 4))
    first[1] = 0
    dead = Chain((Factor(first), Factor(RNG.normal(size=(5, 3)))))
    even = balanced(dead)
    assert np.isfinite(even.factors[1].kernel).all()
    assert np.allclose(even.reconstruct(), dead.reconstruct())
