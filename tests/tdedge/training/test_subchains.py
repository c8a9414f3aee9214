"""Which end of a chain can be fitted, and that it is put back where it was."""

from dataclasses import replace

import numpy as np
import pytest

from tdedge.chain import Chain
from tdedge.factor import Factor
from tdedge.formats import FORMATS, get
from tdedge.training.subchains import linear_end

RNG = np.random.default_rng(1)
RANKS = {"tt": (3, 4, 4), "ntt": (3, 4, 4), "ht2": (3, 4, 4), "tucker": (3, 4)}


def decomposed(name, groups=1) -> Chain:
    dense = Factor(
        RNG.normal(size=(6 * groups, 5, 3, 3)), (2, 1), ((1, 1), (0, 1)), (1, 2), groups,
        bias=RNG.normal(size=6 * groups),
    )  # fmt: skip
    return get(name).decompose(dense, RANKS.get(name, (4,)))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "ntt"])
def test_linear_formats_are_fitted_whole(name, groups):
    chain = decomposed(name, groups)
    part = linear_end(chain, limit=4096)
    assert part.start == 0
    assert len(part.cores) == groups
    assert part.geometry.stride == (2, 1) and part.geometry.pads == ((1, 1), (0, 1))
    back = part.with_cores(part.cores, chain.factors[-1].bias)
    for mine, original in zip(back, chain, strict=True):
        assert np.array_equal(mine.kernel, original.kernel)
        assert (mine.groups, mine.stride, mine.pads) == (original.groups, original.stride, original.pads)


def test_activated_links_leave_the_last_factor():
    part = linear_end(decomposed("ntt"), limit=4096)
    assert part.start == 3
    assert len(part.cores[0]) == 1


def test_wide_patches_leave_the_factors_behind_the_first():
    """45 numbers in front of the chain, 27 behind its first factor, 12 behind its second."""
    chain = decomposed("tt")
    assert [linear_end(chain, limit).start for limit in (45, 44, 27, 12, 11)] == [0, 1, 1, 2, 3]
    assert linear_end(chain, limit=3) is None


def test_inner_bias_and_last_activation():
    chain = decomposed("tucker")
    first, *rest = chain.factors
    biased = Chain((replace(first, bias=np.ones(3)), *rest))
    assert linear_end(biased, limit=4096).start == 1
    activated = Chain((*chain.factors[:-1], replace(chain.factors[-1], activation="relu")))
    assert linear_end(activated, limit=4096) is None


def test_factors_that_share_an_axis_are_not_one_network():
    twice = Chain((Factor(RNG.normal(size=(4, 5, 3, 3))), Factor(RNG.normal(size=(6, 4, 3, 3)))))
    assert linear_end(twice, limit=4096).start == 1
