import numpy as np
import pytest

from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.formats import get
from tdedge.ranks import energy


@pytest.mark.parametrize(
    ("share", "rank"), [(0.01, 1), (0.49, 1), (0.5, 2), (0.74, 2), (0.75, 3), (0.875, 4), (0.99, 4)]
)
def test_the_share_is_exceeded_not_met(share, rank):
    """Squares 4, 2, 1, 1: cumulative shares 0.5, 0.75, 0.875, 1."""
    assert energy.rank(np.diag(np.sqrt([4.0, 2.0, 1.0, 1.0])), share) == rank


def test_the_rank_is_between_one_and_full():
    assert energy.rank(np.zeros((3, 4)), 0.9) == 1
    assert energy.rank(np.eye(5), 1 - 1e-16) == 5


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_outside_zero_and_one_is_refused(share):
    with pytest.raises(UsageError, match="energy"):
        energy.choose(Factor(np.ones((4, 4))), get("svd"), share)


def test_ranks_of_a_format_are_those_of_its_unfoldings():
    dense = Factor(np.random.default_rng(0).normal(size=(8, 6, 3, 3)))
    for name in ("svd", "tucker", "tt", "cp"):
        fmt = get(name)
        expected = tuple(energy.rank(matrix, 0.8) for matrix in fmt.unfoldings(dense))
        assert energy.choose(dense, fmt, 0.8) == expected


def test_the_error_is_bounded_by_what_was_dropped():
    """One truncation loses at most the share that was given up."""
    dense = Factor(np.random.default_rng(0).normal(size=(8, 6, 3, 3)))
    for share in (0.5, 0.9):
        chain = get("svd").decompose(dense, energy.choose(dense, get("svd"), share))
        assert chain.relative_error(dense) ** 2 < 1 - share


def test_the_largest_rank_over_the_groups_counts():
    kernel = np.zeros((8, 4, 1))
    kernel[:4, :, 0] = 100 * np.ones((4, 4))  # the strongest group, of rank 1
    kernel[4:, :, 0] = np.eye(4)
    assert energy.choose(Factor(kernel, groups=2), get("svd"), 0.9) == (4,)
