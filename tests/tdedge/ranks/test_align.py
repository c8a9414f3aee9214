"""Ranks in whole vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdedge.errors import UsageError
from tdedge.ranks.align import align, aligned


@pytest.mark.parametrize(
    ("rank", "most", "expected"),
    [
        (17, 64, 16),
        (24, 64, 32),
        (29, 64, 32),
        (9, 64, 16),
        (8, 64, 8),
        (3, 64, 3),
        (60, 61, 61),
        (70, 64, 64),
    ],
)
def test_nearest_whole_vector(rank, most, expected):
    assert aligned(rank, most, 16) == expected


@given(st.integers(1, 600), st.integers(1, 600), st.sampled_from((1, 4, 8, 16)))
def test_never_between_two_vectors(rank, most, quantum):
    found = aligned(rank, most, quantum)
    assert 1 <= found <= most
    assert found == most or found % quantum == 0 or found <= quantum // 2
    assert abs(found - min(rank, most)) <= quantum
    assert aligned(found, most, quantum) == found


def test_every_rank_of_a_layer():
    assert align((17, 3, 99), (64, 64, 50), 16) == (16, 3, 50)
    assert align((17, 3, 99), (64, 64, 50), 1) == (17, 3, 50)


def test_no_rank_below_one():
    with pytest.raises(UsageError, match=r"quantum 0; expected a whole number of at least 1"):
        aligned(3, 4, 0)
